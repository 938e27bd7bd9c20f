"""Masks as the literature has its baselines: the kept weights stay as they were trained.

- ``magnitude``: the smallest |w| of each layer go (of each M consecutive inputs of an output for N:M).
- ``wanda``: the smallest |w_j|·‖X_j‖ of each output row go (likewise for N:M), X_j the inputs behind the layers that
  are pruned already. Sun, Liu, Bair & Kolter, ICLR 2024. (``cbs_opt.prune(method="wanda")`` re-tunes what is kept.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.layers.command import pattern_of
from cbs_opt.collect import sequential_layers
from cbs_opt.network.targets import find_targets

if TYPE_CHECKING:
    import torch


def magnitude(model: torch.nn.Module, pattern: str) -> torch.nn.Module:
    """A copy of the network without the smallest weights; ``pattern`` is a share or N:M."""
    import torch

    pruned = copy.deepcopy(model)
    with torch.no_grad():
        for target in find_targets(pruned):
            weight = pruned.get_parameter(target.tensor)
            w_bar = target.matrix_in(pruned)
            mask = pattern_of(pattern, *w_bar.shape).argmax(w_bar.ravel() ** 2).reshape(w_bar.shape)
            weight.masked_fill_(~target.weight(torch.from_numpy(mask)).to(weight.device), 0.0)
    return pruned


def wanda(model: torch.nn.Module, x: Any, pattern: str, progress: Callable[[str], None]) -> torch.nn.Module:
    """A copy of the network without the weights that matter least to Wanda on the samples ``x``."""
    within_rows = pattern if ":" in pattern else f"{pattern}/row"
    layers = sequential_layers(model, x, find_targets(model), dampening_frac=0.01, goal="pruned")
    for number, layer in enumerate(layers, 1):
        progress(f"pruning layer {number} of {len(layers.order)}, {layer.name}")
        scores = np.einsum("gii->gi", layer.gram) * layer.w_bar**2  # λ is no part of the paper's score
        mask = pattern_of(within_rows, *scores.shape).argmax(scores.ravel())
        layers.replace(layer, np.where(mask.reshape(layer.w_bar.shape), layer.w_bar, 0.0))
    return layers.network()
