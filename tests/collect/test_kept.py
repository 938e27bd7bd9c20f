"""What is kept of the networks from one layer to the next, and how much memory that takes."""

import ctypes
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cbs_opt.collect import memory, sequential_layers
from cbs_opt.collect.stand_in import Needed, is_stand_in, outline, stand_in
from cbs_opt.network.targets import find_targets
from cbs_opt.pruning.block_by_block import block_by_block

WIDTH, INNER, TOKENS, SAMPLES = 8, 32, 6, 10


class Gated(nn.Module):
    """A decoder block without attention: a product of two modules' answers is the last layer's input."""

    def __init__(self):
        super().__init__()
        self.norm, self.act = nn.LayerNorm(WIDTH), nn.SiLU()
        self.gate, self.up = nn.Linear(WIDTH, INNER), nn.Linear(WIDTH, INNER)
        self.down = nn.Linear(INNER, WIDTH)

    def forward(self, x, mask):
        y = self.norm(x)
        return x + self.down(self.act(self.gate(y)) * self.up(y)) * mask


class Decoder(nn.Module):
    """Makes a mask of the embedding's shape and type, as decoders of the transformers library do."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3, WIDTH)
        self.blocks = nn.ModuleList(Gated() for _ in range(3))

    def forward(self, x):
        x = start = self.embed(x)
        for block in self.blocks:
            mask = torch.ones(start.shape[:2], dtype=start.dtype, device=start.device)[..., None]
            x = block(x, mask)
        return x


@pytest.fixture
def decoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Decoder().eval()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(SAMPLES, TOKENS, 3)).astype(np.float32)


def layers_of(decoder, x, **options):
    targets = find_targets(decoder, ["blocks.*"])
    return sequential_layers(decoder, x, targets, damping=1.0, batch=4, **options)


def kept_bytes(layers):
    """Bytes of the memory that everything kept of both networks takes."""
    kept = [value for stream in (layers.pruned, layers._dense) for value in stream._kept.values()]
    return sum(value.untyped_storage().nbytes() for value in kept)


def test_of_a_product_the_product_is_kept_and_of_what_only_its_shape_is_asked_the_shape(decoder, x):
    layers = layers_of(decoder, x)
    most = 0
    for layer in layers:
        if layer.name == "blocks.1.down":
            # The block's input and that of the layer, of each token in both networks, and an outline of the embedding
            # for each of three batches.
            assert kept_bytes(layers) == 2 * 4 * (SAMPLES * TOKENS * (WIDTH + INNER) + 3)
        most = max(most, kept_bytes(layers))
        layers.replace(layer, layer.w_bar / 2)
    assert most == 2 * 4 * (SAMPLES * TOKENS * (WIDTH + INNER) + 3)
    assert layers.notes == []


def test_its_numbers_are_those_of_starting_from_scratch(decoder, x):
    found = []
    for given in (None, 0):
        layers = layers_of(decoder, x, memory=given)
        found.append([])
        for layer in layers:
            layers.replace(layer, layer.w_bar / 2)
            found[-1].append(layer)
    for one, other in zip(*found, strict=True):
        for field in ("gram", "g", "offset"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


class Refining:
    """Halves every layer; how much is kept beside the activations when it does."""

    def __init__(self, sequence):
        self.sequence, self.masks, self.notes, self.watched = sequence, {}, [], []

    def solve(self, layer):
        self.watched.append(len(self.sequence.pruned._watched_calls))
        self.masks[layer.name] = np.ones(layer.w_bar.shape, dtype=bool)
        return layer.w_bar / 2

    def outcome(self, name):
        return None

    def reweigh(self, name, weights):
        pass


class Clock:
    def phase(self, name, words=""):
        return nullcontext()

    part = phase


class Settings:
    refine, seed, bound = 1, 0, False


def test_what_refinement_keeps_is_let_go_of_with_every_block(decoder, x):
    layers = layers_of(decoder, x)
    solver = Refining(layers)
    reports = block_by_block(layers, solver, Settings(), Clock())
    assert len(reports) == 3
    assert solver.watched == [3] * 9  # a call of the block for each batch
    assert not layers.pruned._watched_calls
    assert kept_bytes(layers) == 0


def test_what_refinement_keeps_counts_as_kept_activations(decoder, x):
    activations = 2 * 4 * SAMPLES * TOKENS * (WIDTH + INNER)
    calls_and_goals = 4 * SAMPLES * TOKENS * (WIDTH + 1 + WIDTH)
    enough, too_little = (layers_of(decoder, x, memory=activations + calls_and_goals + slack) for slack in (0, -1))
    for layers in (enough, too_little):
        block_by_block(layers, Refining(layers), Settings(), Clock())
    assert enough.notes == []
    assert [note.split(":")[0] for note in too_little.notes] == [f"layer blocks.{i}.down" for i in range(3)]
    plain = layers_of(decoder, x, memory=activations)
    for layer in plain:
        plain.replace(layer, layer.w_bar / 2)
    assert plain.notes == []


@pytest.mark.parametrize(
    "function",
    [
        lambda s: s * 2,
        lambda s: 2 * s,
        lambda s: torch.ones(3) * s,
        lambda s: nn.functional.silu(s) * s,
        lambda s: nn.functional.gelu(s, approximate="tanh"),
        lambda s: torch.sigmoid(s) + s,
    ],
)
def test_what_makes_a_stand_in_of_one(function):
    assert is_stand_in(function(stand_in("a")))


@pytest.mark.parametrize(
    "function",
    [
        lambda s: s.mul_(2),
        lambda s: torch.ones(3).add_(s),
        lambda s: torch.mul(torch.ones(3), s, out=torch.ones(3)),
        lambda s: nn.functional.relu(s, inplace=True),
        lambda s: nn.functional.relu(s, True),
        lambda s: nn.functional.linear(s, torch.ones(3, 3)),
        lambda s: torch.cat([torch.ones(3), s]),
        lambda s: bool(s),
        lambda s: s[0],
        lambda s: (s * 2).shape,
    ],
)
def test_whatever_else_needs_its_numbers(function):
    with pytest.raises(Needed) as needed:
        function(stand_in("a", outline(torch.zeros(3), torch.device("cpu"))))
    assert (needed.value.name, needed.value.numbers) == ("a", True)


def test_an_outline_has_shape_type_and_device_and_takes_no_memory():
    value = torch.zeros(5, 7, 11, dtype=torch.float64)
    like = outline(value, value.device)
    assert like.untyped_storage().nbytes() == 8
    with pytest.raises(Needed) as needed:
        stand_in("a").shape  # noqa: B018
    assert (needed.value.name, needed.value.numbers) == ("a", False)
    found = stand_in("a", like)
    assert (found.shape, found.dtype, found.device) == (value.shape, value.dtype, value.device)
    assert (found.ndim, found.dim(), found.size(1)) == (3, 3, 7)
    assert outline((value, value), value.device) is None


def resident():
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux" or memory._trim() is None, reason="another C library")
def test_memory_goes_back_to_the_system():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    held = [libc.malloc(100_000) for _ in range(2_000)]  # too small for pages of their own
    for place in held:
        ctypes.memset(place, 1, 100_000)
    for place in held[:-1]:  # the last one keeps the C library from giving back the others by itself
        libc.free(place)
    before = resident()
    memory.give_back()
    assert resident() < before - 150_000_000
    libc.free(held[-1])
