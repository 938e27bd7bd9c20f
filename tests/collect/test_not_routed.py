"""What looks like choosing tokens and is none: their layers are fitted to the dense network's outputs as all others."""

import numpy as np
import pytest
import torch
from torch import nn

import cbs_opt
from cbs_opt.collect import sequential_layers
from cbs_opt.network.targets import find_targets

WIDTH, LENGTH = 6, 5


class Padded(nn.Module):
    """Rows of zeros among the network's inputs are padding, and are left out on the way."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(WIDTH, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        there, hidden = (x != 0).any(-1), torch.relu(self.a(x))
        out = torch.zeros_like(hidden)
        out[there] = self.b(hidden[there])
        return self.c(out)


class Buckets(nn.Module):
    """Positions by a logarithm of distances, as in DeBERTa: whole numbers made of others by way of fractions."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(WIDTH, 4), nn.Linear(LENGTH, 8), nn.Linear(8, 2)

    def forward(self, x):
        apart = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
        buckets = torch.log1p(apart.abs().float()).ceil().long()
        return self.c(torch.relu(self.b(self.a(x).gather(2, buckets.expand(len(x), -1, -1)))))


class Unpooled(nn.Module):
    """Numbers go back to where they were the greatest of their window."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x):
        x, places = self.pool(torch.relu(self.a(x)))
        return self.c(self.unpool(self.b(x), places))


class SideBySide(nn.Module):
    """Zeros and ones beside the numbers that they are made of."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(WIDTH, 8), nn.Linear(16, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = self.a(x)
        return self.c(self.b(torch.cat([x, x > 0], -1)))


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def made(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind().eval()


@pytest.mark.parametrize("kind", [Padded, Buckets, Unpooled, SideBySide])
def test_no_layer_is_routed(kind):
    x = normal(6, 2, 4, 4) if kind is Unpooled else normal(6, LENGTH, WIDTH)
    if kind is Padded:
        x[:, 3:] = 0
    model = made(kind)
    layers = sequential_layers(model, x, find_targets(model), damping=0.01)
    found = []
    for layer in layers:
        found.append(bool(layer.g.any()))
        layers.replace(layer, layer.w_bar / 2)
    assert found == [False, True, True]  # the first layer's inputs are the same in both networks
    assert layers.notes == []


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


class Skipping(nn.Module):
    """Comes to its second block where the first number of the first sample says so."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x):
        far = float(x[0, 0]) > 0
        x = self.blocks[0](x)
        return self.blocks[1](x) if far else x


class Sorted(nn.Module):
    """Each of its blocks sees samples of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.experts = nn.Linear(WIDTH, WIDTH), nn.ModuleList([Block(), Block()])

    def forward(self, x):
        x = self.first(x) + x
        out = torch.zeros_like(x)
        for expert, which in zip(self.experts, (x[:, 0] > 0, x[:, 0] <= 0), strict=True):
            if which.any():
                out[which] = expert(x[which])
        return out


ASKED = {"method": "sparsegpt", "allocation": "layer", "dampening_frac": 0.01, "bound": False, "refine": 1}


def test_the_error_of_a_block_is_of_the_samples_that_come_to_it():
    model, x = made(Skipping), normal(64, WIDTH)
    pruned = cbs_opt.prune(model, x, 0.8, **ASKED | {"refine": 5})  # sample by sample
    assert [block.name for block in pruned.blocks] == ["blocks.0", "blocks.1"]
    come = torch.from_numpy(x[x[:, 0] > 0])
    assert 0 < len(come) < 64
    with torch.no_grad():
        y, y_hat = (net.blocks[1](net.blocks[0](come)).double() for net in (model, pruned.model))
    error = float((y_hat - y).square().sum() / y.square().sum())
    assert pruned.blocks[1].refined == pytest.approx(error, rel=1e-4)
    assert pruned.blocks[1].refined < pruned.blocks[1].error


def test_a_block_of_chosen_samples_has_no_error_and_is_not_refined():
    """Its answers are of other samples in the two networks, or not of any."""
    pruned = cbs_opt.prune(made(Sorted), normal(64, WIDTH), 0.5, **ASKED)
    assert [block.name for block in pruned.blocks] == ["first"]
    assert len(pruned.layers) == 5
    assert all(any(f"block experts.{i}: was not refined" in note for note in pruned.notes) for i in (0, 1))
