"""Block-swap local search on the joint objective of a factored problem, H never formed.

A round, from a re-tuned support S (``block_swap_support``), with a_i = A_iᵀK⁻¹A_i/λ:

1. What the removal of i ∈ S costs by itself, λω_i²/(2(1 − a_i)), and what the entry of j ∈ P gains, λω_j²/(2(1 + a_j)),
   are computed where ω_i² is nearest to the threshold between the two; the cheapest of S and the most gainful of P
   become the candidates C, ``CANDIDATES`` of each.
2. All other kept weights R are eliminated: with K_R = I + A_R A_Rᵀ/λ the reduced curvature is λI + A_CᵀK_R⁻¹A_C.
3. On that small dense problem pairs are exchanged, the best first, each exactly (``block_swap_table``).

The exchanged block is made at once and everything computed afresh, as long as the value falls. Where weights carry no
labels with room, the candidates are whole units and the pattern is asked about each exchange (``block_swap_units``).
Exchanges of pairs on the joint objective: Miller, Subset Selection in Regression, 2002, §3.9; blocks of them on a
network's factored Fisher: Benbaki et al., CHITA, ICML 2023 (chosen by a linear model there, by exact gains here).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.errors import NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.curvature import FactorCurvature
from cbs_opt.kernel.device import tensor
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Labelled, Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.heuristic.block_swap_support import Support, Supports
from cbs_opt.solvers.heuristic.block_swap_table import best_exchanges
from cbs_opt.solvers.heuristic.block_swap_units import exchange_units
from cbs_opt.solvers.heuristic.start import filled

CANDIDATES = 256
"""Kept and pruned weights, each, that take part in a round."""

LEAST_DECREASE = 1e-9
"""Relative decrease of the value below which an exchange is not worth a pivot."""

MOST_ROUNDS = 100


def run(problem: PruningProblem, *, start: Any = None, device: str = "cpu") -> Outcome:
    """Exchange blocks until none helps.

    Parameters
    ----------
    start : boolean array, shape (n,), or Solution, optional
        A mask in Z to start from; the magnitude mask when left out. One that keeps fewer weights than Z allows is
        filled up with the largest.
    device : str
        'cpu' or 'cuda'.
    """
    supports = Supports(problem, device)
    mask = problem.Z.argmax(problem.w_bar**2) if start is None else filled(problem, start)
    support = supports.at(mask)
    if support is None:
        raise singular(problem)
    improved, note = improve(problem, supports, support)
    return Outcome(improved.mask, notes=(note,) if note else ())


def improve(problem: PruningProblem, supports: Supports, support: Support) -> tuple[Support, str]:
    """A support with as many weights that no further block improves, and a note where the search was cut short."""
    pattern = problem.Z.labelled
    for _ in range(MOST_ROUNDS):
        if pattern is None:
            block = exchange_units(problem, supports, support, CANDIDATES)
        else:
            block = _exchange(supports, support, pattern)
        if block is None:
            return support, ""
        mask = support.mask.copy()
        mask[block] = ~mask[block]
        trial = supports.at(mask, support)
        if trial is None or not trial.value < support.value:
            return support, ""
        support = trial
    return support, f"block-swap stopped after {MOST_ROUNDS} rounds"


def singular(problem: PruningProblem) -> NotPositiveDefiniteError:
    """The error for a damping that float64 loses beside AAᵀ."""
    needed = 1e-12 * float(problem.curvature.diagonal().sum())
    return NotPositiveDefiniteError(
        f"damping: {problem.curvature.damping:.3g} is lost in the round-off of AAᵀ; use at least {needed:.3g}", needed
    )


def _exchange(supports: Supports, support: Support, pattern: Labelled) -> np.ndarray | None:
    """The weights that change sides in one round; None where no exchange helps."""
    import torch

    data, factor = supports.data, support.factors[0]
    inside, outside = _nearest(pattern, support, supports.scores(support), 4 * CANDIDATES)
    if not inside.size or not outside.size:
        return None
    both = np.concatenate([inside, outside])
    index = tensor(both, data.device)
    columns = data.columns(index)
    lam = data.lam[index]
    half = torch.linalg.solve_triangular(factor, columns, upper=False)
    a = (half**2).sum(0) / lam
    exact = 0.5 * lam * support.omega[index] ** 2
    exact = torch.where(tensor(support.mask[both], data.device), exact / (1.0 - a).clamp(min=1e-12), exact / (1.0 + a))
    scores = np.zeros(len(support.mask))
    scores[both] = exact.cpu().numpy()
    inside, outside = _nearest(pattern, support, scores, CANDIDATES, both)
    chosen = np.concatenate([inside, outside])
    kept = support.mask[chosen]
    place = np.empty(len(support.mask), dtype=np.int64)
    place[both] = np.arange(len(both))
    columns = columns[:, tensor(place[chosen], data.device)]
    lam = data.lam[tensor(chosen, data.device)]
    root = columns[:, : len(inside)] / lam[: len(inside)].sqrt()
    reduced, info = torch.linalg.cholesky_ex(support.K[0] - root @ root.T)
    if int(info) > 0:
        return None
    half = torch.linalg.solve_triangular(reduced, columns, upper=False)
    H = (half.T @ half + torch.diag(lam)).cpu().numpy()
    omega = support.omega[tensor(chosen, data.device)].cpu().numpy()
    b = H @ np.where(kept, omega, 0.0) + np.where(kept, 0.0, lam.cpu().numpy() * omega)
    after, _, made = best_exchanges(H, b, kept, pattern.labels[chosen], LEAST_DECREASE * abs(support.value), CANDIDATES)
    return chosen[after != kept] if made else None


def _nearest(
    pattern: Labelled, support: Support, scores: Vector, most: int, among: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Kept weights of low score and pruned ones of high score, ``most`` each, by the margin within their labels."""
    pool = np.zeros(len(scores), dtype=np.bool_)
    pool[slice(None) if among is None else among] = True
    pool &= pattern.free
    inside, outside = np.flatnonzero(pool & support.mask), np.flatnonzero(pool & ~support.mask)
    lowest, highest = np.full(len(pattern.room), np.inf), np.full(len(pattern.room), -np.inf)
    np.minimum.at(lowest, pattern.labels[inside], scores[inside])
    np.maximum.at(highest, pattern.labels[outside], scores[outside])
    margin_in = scores[inside] - highest[pattern.labels[inside]]
    margin_out = lowest[pattern.labels[outside]] - scores[outside]
    return _smallest(inside, margin_in, most), _smallest(outside, margin_out, most)


def _smallest(index: np.ndarray, key: Vector, most: int) -> np.ndarray:
    index, key = index[np.isfinite(key)], key[np.isfinite(key)]
    return index if len(index) <= most else index[np.argpartition(key, most)[:most]]


SPEC = MethodSpec(
    name="block-swap",
    run=run,
    summary="magnitude, then exchange blocks of weights (or units) on the joint objective, H never formed",
    exact=False,
    objective=Objective.JOINT,
    reference="Benbaki et al., CHITA, ICML 2023",
    patterns=(Pattern,),
    curvatures=(FactorCurvature,),
    requires=("torch",),
    left_out_because="made for layers and whole networks",
)
