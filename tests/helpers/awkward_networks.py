"""Small networks with every awkward part, and their inputs."""

import numpy as np
import pytest
import torch
from torch import nn


class Conv1D(nn.Module):
    """Linear layer that stores its weight as (in, out), as Hugging Face transformers have it."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.randn(nx, nf) / nx**0.5)
        self.bias = nn.Parameter(torch.randn(nf))

    def forward(self, x):
        return x @ self.weight + self.bias


class Skipping(nn.Module):
    """Convolutions around skip connections.

    x ── a ── bn ── act(in place) ──┬── b(groups, dilation) ──(+=)── relu ── c(stride) ──(+)── flatten ──┬── fc
    │                               ├────────────────────────────┘                        │              │
    │                               └───────────────────── mean over positions ───────────┼──────────────┘
    └───────────────────────────────────────────── short(1×1, stride) ────────────────────┘
    """

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.b = nn.Conv2d(8, 8, (3, 2), padding=(1, 1), dilation=(1, 2), groups=4)
        self.c = nn.Conv2d(8, 6, 3, stride=2, padding="valid")
        self.short = nn.Conv2d(3, 6, 1, stride=2)
        self.fc = nn.Linear(6 * 9 + 8, 5)

    def forward(self, x):
        a = self.act(self.bn(self.a(x)))
        b = self.b(a)
        b += a
        c = self.c(torch.relu_(b)) + self.short(x)[:, :, :3, :3]
        return self.fc(torch.cat([c.flatten(1), a.mean((2, 3))], dim=1))


class Attending(nn.Module):
    """Tokens, an embedding, tuples between modules and transposed weights."""

    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = Conv1D(18, 6)
            self.out = Conv1D(6, 6)

        def forward(self, x):
            q, k, v = self.qkv(x).split(6, dim=2)
            attention = torch.softmax(q @ k.transpose(1, 2), dim=2)
            return self.out(attention @ v), attention

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.mixer = self.Mixer()
        self.norm = nn.LayerNorm(6)
        self.mlp = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))
        self.head = nn.Linear(6, 5)

    def forward(self, tokens):
        x = self.embedding(tokens)
        mixed, _ = self.mixer(x)
        x = x + mixed
        return self.head((x + self.mlp(self.norm(x))).mean(dim=1))


def seeded(build):
    """The network with random weights and batch statistics from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.fixture
def skipping():
    return seeded(Skipping)


@pytest.fixture
def attending():
    return seeded(Attending)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(7, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def tokens():
    return np.random.default_rng(0).integers(0, 11, size=(7, 4))


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, 5, size=7)
