"""One block at a time on a device: a stand-in for a device counts what it holds."""

import sys
import weakref

import numpy as np
import pytest
import torch
from network_state import state
from torch import nn

import cbs_opt
from cbs_opt.network import placement
from cbs_opt.network.blocks import block_of, entries
from cbs_opt.network.placement import Placement, running_on
from cbs_opt.pruning import layerwise

ASKED = {"method": "sparsegpt", "allocation": "layer", "bound": False}


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.BatchNorm1d(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.blocks, self.head = (
            nn.Linear(6, 12),
            nn.ModuleList(Residual(12) for _ in range(4)),
            nn.Sequential(nn.Linear(12, 4)),
        )

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@pytest.fixture
def stack():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Stack().eval()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)


class Device:
    """What stands for a device: copies that count for as long as they live."""

    def __init__(self):
        self.holds = self.most = 0

    def put(self, tensor):
        copy = tensor.clone()
        size = copy.numel() * copy.element_size()
        self.holds += size
        self.most = max(self.most, self.holds)
        weakref.finalize(copy.untyped_storage(), self.drop, size)
        return copy

    def drop(self, size):
        self.holds -= size


@pytest.fixture
def device(monkeypatch):
    found = Device()
    monkeypatch.setattr(Placement, "_on_device", lambda self, tensor: found.put(tensor))
    return found


def size(module):
    return sum(x.numel() * x.element_size() for x in (*module.parameters(), *module.buffers()))


def test_blocks_are_the_entries_of_outermost_lists(stack):
    assert entries(stack) == ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "head.0"]
    assert [block_of(stack, name) for name in ("first", "blocks.2.up", "head.0")] == ["first", "blocks.2", "head.0"]
    nested = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.ModuleList([nn.Linear(2, 2)]))
    assert entries(nested) == ["0", "1"]


def test_a_network_computes_the_same_with_one_block_on_the_device(stack, x, device):
    before = {name: x.data_ptr() for name, x in (*stack.named_parameters(), *stack.named_buffers())}
    given = torch.from_numpy(x)
    with torch.no_grad():
        plain = stack(given)
        stack.to("cpu")
        # A 'device' of another type than the network's, so that the network counts as in memory.
        with running_on(stack, torch.device("meta")):
            placed = stack(given)
            assert device.holds > 0
    assert torch.equal(plain, placed)
    largest = max(size(stack.get_submodule(name)) for name in entries(stack))
    assert device.most <= largest + size(stack.first)
    assert {name: x.data_ptr() for name, x in (*stack.named_parameters(), *stack.named_buffers())} == before


@pytest.mark.parametrize("refine", [0, 2])
def test_pruning_with_one_block_on_the_device_is_the_same_pruning(stack, x, device, monkeypatch, refine):
    """Two networks run, the dense one and the pruned one: two blocks are there at once, and what is in none, once."""
    before = state(stack)
    whole = cbs_opt.prune(stack, x, 0.5, refine=refine, **ASKED)
    assert device.most == 0
    real = layerwise.sequential_layers
    monkeypatch.setattr(
        layerwise, "sequential_layers", lambda *given, **named: real(*given, **{**named, "device": "cpu"})
    )
    placed = cbs_opt.prune(stack, x, 0.5, refine=refine, **ASKED)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, placed.model.state_dict()[name]), name
    assert whole.blocks == placed.blocks
    assert whole.objective == placed.objective
    largest = max(size(stack.get_submodule(name)) for name in entries(stack))
    assert 0 < device.most <= 2 * largest + size(stack.first)
    assert device.most < size(stack)
    assert all(torch.equal(tensor, before[name]) for name, tensor in stack.state_dict().items())


def test_a_network_too_large_for_the_device_is_said_to_stay_in_memory(stack, x, monkeypatch):
    monkeypatch.setattr(sys.modules["cbs_opt.pruning.prune"], "fits", lambda model, device: False)
    found = cbs_opt.prune(stack, x, 0.5, **ASKED)
    assert "the network stays in memory, one block at a time is on cpu: it is too large for it" in found.notes
    monkeypatch.setattr(placement, "SHARE", 1)
    assert placement.fits(stack, torch.device("cpu"))
