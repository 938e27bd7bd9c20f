"""How many weights each segment of each layer loses, so that the network loses ``prune`` of them.

A segment is a set of weights with a number of zeros of its own: a row; or all rows of a layer (of one group of a
grouped convolution), which share that number; or, under N:M, M consecutive input channels of a row at one kernel
position. The segments of a layer all have the same size, and are counted in the order of its rows.

- ``uniform``: every row loses the same share.
- ``layer``: every layer loses the same share, and the method decides how its rows divide it.
- ``magnitude``: every row loses as many weights as it has among the network's ``prune`` smallest |w|.
- ``sensitivity``: each row's greedy OBS trace (``greedy_rows``) on the layer's Gram says what each further weight
  costs, and the row's sensitivity S_r (``sensitivity``) how strongly the network's outputs react to the row. The
  weights of all traces that are cheapest by S_r · cost go. That minimizes Σ_r S_r · (loss of row r) over the
  convexified traces, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
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
"""The most samples that traces and sensitivities are computed from: an allocation needs fewer than the weights do."""

Counts = NDArray[np.int64]


def n_of_m_quotas(weights: Weights, keep: int, of: int) -> dict[str, Counts]:
    """The least numbers of zeros under N:M, by module name: ``of`` − ``keep`` in each ``of`` input channels."""
    require_divisible(weights.targets, keep, of)
    return {t.name: np.full(t.numel // of, of - keep) for t in weights.targets}


def require_divisible(targets: Iterable[Target], keep: int, of: int) -> None:
    """Raise unless every layer can have the pattern N:M.

    Raises
    ------
    PatternError
        A layer whose number of input channels M does not divide (names all of them, and how to leave them out).
    """
    others = [target for target in targets if target.channels % of]
    if others:
        has = ", ".join(f"layer {target.name} has {target.channels}" for target in others)
        names = [target.name for target in others]
        raise PatternError(
            f"{keep}:{of}: {of} has to divide the number of input channels of an output, but {has}; leave out what "
            f"does not fit, ignore={names} or --ignore '{','.join(names)}', or choose another pattern"
        )


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
    """The least number of zeros of each segment, shape (segments,), by module name; zeros of the mask count.

    Parameters
    ----------
    kind : str
        One of ``ALLOCATIONS``.
    model : torch.nn.Module
        The network with ``weights``.
    samples : Drawn
        For the Gram matrices and the sensitivities; the first ``MOST_SAMPLES`` are used.
    prune : int
        The least number of zeros in the whole network.
    damping, dampening_frac : float
        λ of the Gram matrices, as ``prune`` takes it.
    seed : int
        Seed of the sensitivities.

    Raises
    ------
    UnknownMethodError
        An unknown allocation.
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
    # Layer inputs are collected first: their errors name a bad sample more clearly than those of the sensitivities.
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
        # A weight that is pruned already has no slope, and costs nothing.
        costs.append((np.where(mask, slopes, 0.0) * felt[target.name][:, None]).ravel())
    return np.concatenate(costs)
