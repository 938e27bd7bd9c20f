"""How many weights each segment of each layer shall lose, so that the network loses ``prune`` of them.

A segment is a row, or all rows of a layer (of a group of a grouped convolution) that share one budget: every layer's
segments are of one size, and stand one after the other. Under N:M it is M input channels of a row, at one kernel
position.

- ``uniform``: every row the same share.
- ``layer``: every layer the same share, which its rows divide among them as the method finds best.
- ``magnitude``: as many as the row has among the network's smallest |w|.
- ``sensitivity``: each row's greedy OBS trace (``greedy_rows``) on the layer's Gram says what each further weight
  costs, the row's sensitivity S_r (``sensitivity``) how much the network's outputs feel it; the cheapest weights of all
  traces go. That minimizes Σ_r S_r · (loss of row r) over the convexified traces, exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect import layer_grams
from cbs_opt.collect.layer_model import group_problem, groups
from cbs_opt.errors import PatternError, unknown_name
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.patterns import Cardinality, Labelled, Labels, Quotas, prune_count
from cbs_opt.network.samples import Drawn
from cbs_opt.network.targets import Target
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.sensitivity import sensitivities

if TYPE_CHECKING:
    import torch

ALLOCATIONS = ("sensitivity", "magnitude", "layer", "uniform")

MOST_SAMPLES = 1_000
"""Samples that the traces and sensitivities are taken over, at most: an allocation needs fewer than the weights do."""

Counts = NDArray[np.int64]


def n_of_m_quotas(weights: Weights, keep: int, of: int) -> dict[str, Counts]:
    """Those of N:M: each group of ``of`` input channels, at one kernel position, loses at least all but ``keep``.

    Raises
    ------
    PatternError
        Input channels that M does not divide (names the layers, and how to leave them out).
    """
    others = [target for target in weights.targets if target.channels % of]
    if others:
        has = ", ".join(f"layer {target.name} has {target.channels}" for target in others)
        names = [target.name for target in others]
        raise PatternError(
            f"{keep}:{of}: {of} has to divide the number of input channels of an output, but {has}; leave out what "
            f"does not fit, ignore={names} or --ignore '{','.join(names)}', or choose another pattern"
        )
    return {t.name: np.full(t.numel // of, of - keep) for t in weights.targets}


def n_of_m_pattern(target: Target, rows: int, keep: int, of: int) -> Labelled:
    """N:M along the input channels, never across outputs or kernel positions, for ``rows`` outputs of a layer."""
    if target.places == 1:
        return Quotas.n_of_m(rows * target.inputs, keep, of, row=target.inputs)
    return Labels.n_of_m_channels((rows, target.channels, target.places), keep, of)


def quotas(
    kind: str,
    model: torch.nn.Module,
    samples: Drawn,
    weights: Weights,
    prune: int,
    *,
    damping: float | None,
    dampening_frac: float | None,
    seed: int = 0,
) -> dict[str, Counts]:
    """The least number of zeros of each segment, shape (segments,), by module name; those the mask has included.

    Parameters
    ----------
    model : torch.nn.Module
        Holds ``weights``.
    samples : Drawn
        For the Gram matrices and the sensitivities; the first ``MOST_SAMPLES`` are used.
    prune : int
        Zeros of the whole network, at least.

    Raises
    ------
    UnknownMethodError
        An allocation nobody knows.
    """
    if kind not in ALLOCATIONS:
        raise unknown_name("allocation", kind, list(ALLOCATIONS))
    if kind == "uniform":
        share = prune / weights.n
        return {t.name: np.full(t.outputs, prune_count(t.inputs, share)) for t in weights.targets}
    if kind == "layer":
        share = prune / weights.n
        return {t.name: np.full(t.groups, prune_count(t.numel // t.groups, share)) for t in weights.targets}
    if kind == "magnitude":
        costs = np.abs(weights.values)
    else:
        costs = _trace_costs(model, samples, weights, damping, dampening_frac, seed)
    zeros = np.zeros(weights.n, dtype=np.bool_)
    zeros[np.argsort(np.where(weights.mask, costs, -np.inf), kind="stable")[:prune]] = True
    return {t.name: zeros[part].reshape(t.outputs, t.inputs).sum(axis=1) for t, part in weights.parts()}


def _trace_costs(
    model: torch.nn.Module,
    samples: Drawn,
    weights: Weights,
    damping: float | None,
    dampening_frac: float | None,
    seed: int,
) -> Vector:
    """What each weight costs in its row's trace, times the row's sensitivity, shape (n,)."""
    from cbs_opt.solvers.heuristic.greedy_rows import trace_slopes

    x, numbers = samples.x.take(slice(MOST_SAMPLES)), samples.numbers[:MOST_SAMPLES]
    # The inputs of layers first: they say more clearly which sample is a bad one.
    layers = layer_grams(model, x, weights.targets, damping=damping, dampening_frac=dampening_frac, numbers=numbers)
    felt = sensitivities(model, x, weights.targets, seed=seed, numbers=numbers)
    masks = weights.masks()
    costs = []
    for target in weights.targets:
        layer, mask = layers[target.name], masks[target.name]
        slopes = np.empty(mask.shape)
        with target.naming():
            for group, rows in groups(target):
                gone = np.flatnonzero(~mask[rows])
                everything = Cardinality(mask[rows].size, mask[rows].size, forbid=gone)
                slopes[rows] = trace_slopes(group_problem(layer, group, rows, everything))
        # What is pruned already has no slope, and costs nothing.
        costs.append((np.where(mask, slopes, 0.0) * felt[target.name][:, None]).ravel())
    return np.concatenate(costs)
