"""Block-swap: a local search on the joint objective that exchanges many weights at once, for H = AᵀA + λI not formed.

S are the kept and P the pruned weights, ω and K as in ``block_swap_support``, and a_i = A_iᵀK⁻¹A_i/λ. A round goes from
a re-tuned S to a better one:

1. Pruning i ∈ S alone costs λω_i²/(2(1 − a_i)), and keeping j ∈ P alone gains λω_j²/(2(1 + a_j)). Both are computed for
   the smallest ω_i² of S and the largest ω_j² of P. The cheapest weights of S and the most gainful of P, ``CANDIDATES``
   of each, are the candidates C.
2. All other kept weights R are eliminated: with K_R = I + A_R A_Rᵀ/λ the curvature on C becomes λI + A_CᵀK_R⁻¹A_C.
3. On that small dense problem pairs are exchanged, the best first, with the exact change of f (``block_swap_table``).

The whole block of exchanges is then made in S, and everything is computed afresh. Rounds go on as long as f falls.
Where the pattern is not one of labels with room, the candidates are whole units, and the pattern is asked about each
exchange (``block_swap_units``). Exchanges of pairs on the joint objective: Miller, Subset Selection in Regression,
2002, §3.9. Blocks of exchanges on a network's factored Fisher: Benbaki et al., CHITA, ICML 2023, who choose them by a
linear model.
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
"""Kept weights that take part in a round, and as many pruned ones."""

LEAST_DECREASE = 1e-9
"""Relative decrease of the value below which an exchange is not made."""

MOST_ROUNDS = 100
"""Rounds at the most."""


def run(problem: PruningProblem, *, start: Any = None, device: str = "cpu") -> Outcome:
    """Exchange blocks of weights until no block lowers the joint objective.

    Parameters
    ----------
    start : boolean array, shape (n,), or Solution, optional
        A mask in Z to start from; the magnitude mask when left out. A mask that keeps fewer weights than Z allows is
        filled up with the largest weights.
    device : str
        Where the search runs: 'cpu' or 'cuda'.

    Raises
    ------
    NotPositiveDefiniteError
        The damping is lost in the round-off of AAᵀ.
    PatternError
        ``start`` is not in Z.
    """
    supports, support = first_support(problem, start, device)
    improved, note = improve(problem, supports, support)
    return Outcome(improved.mask, notes=(note,) if note else ())


def improve(problem: PruningProblem, supports: Supports, support: Support) -> tuple[Support, str]:
    """Exchange blocks from ``support`` until none helps: the support reached, and a note where rounds ran out."""
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


def first_support(problem: PruningProblem, start: Any, device: str) -> tuple[Supports, Support]:
    """The supports of ``problem``, and the one to start from; ``start`` and the errors are those of ``run``."""
    supports = Supports(problem, device)
    mask = problem.Z.argmax(problem.w_bar**2) if start is None else filled(problem, start)
    support = supports.at(mask)
    if support is None:
        raise singular(problem)
    return supports, support


def singular(problem: PruningProblem) -> NotPositiveDefiniteError:
    """The error for a damping that is lost in the round-off of AAᵀ; it names one that would do."""
    needed = 1e-12 * float(problem.curvature.diagonal().sum())
    return NotPositiveDefiniteError(
        f"damping: {problem.curvature.damping:.3g} is lost in the round-off of AAᵀ; use at least {needed:.3g}", needed
    )


def _exchange(supports: Supports, support: Support, pattern: Labelled) -> np.ndarray | None:
    """The weights that change between kept and pruned in one round; None where no exchange helps."""
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
    """At most ``most`` kept weights and as many pruned ones that are likeliest to be exchanged within their labels.

    A kept weight ranks by its score less the highest score of a pruned weight of its label, a pruned one by the lowest
    score of a kept weight of its label less its own.
    """
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
    """The ``most`` entries of ``index`` with the smallest finite ``key``, in any order."""
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
