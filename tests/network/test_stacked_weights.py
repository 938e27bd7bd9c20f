"""Weights that are no layer's are named, not left out in silence."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import cbs_opt


class Stacked(nn.Module):
    """Two linear maps in one tensor behind a layer, and one row of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.experts = nn.Parameter(torch.ones(2, 6, 6))
        self.more = nn.Parameter(torch.ones(2, 6, 3))
        self.place = nn.Parameter(torch.ones(1, 1, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((self.layer(x)[:, None] + self.place) @ self.experts.sum(0) @ self.more.sum(0))[:, 0]


def test_they_stay_and_a_note_says_so() -> None:
    x = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    note = "experts and 1 more, 108 weights, are in no linear layer or two-dimensional convolution and stay as they are"
    asked = {"curvature": "sequential", "method": "sparsegpt", "bound": False}
    pruned = cbs_opt.prune(Stacked(), x, 0.5, **asked)
    assert note in pruned.notes
    assert bool((pruned.model.experts == 1).all())
    assert note not in cbs_opt.prune(Stacked(), x, 0.5, targets=["layer"], **asked).notes
