"""1-swap local search on the joint objective, the best swap first.

S are the kept and P the pruned weights, w the re-tuned weights on S, r = H(c − w) the residual on P (c = H⁻¹b), and

    B = (H_SS)⁻¹,    T = B H_SP,    σ_j = H_jj − H_jS T_:j            (the Schur complement of j on S).

Pruning i ∈ S raises the optimal value by w_i²/(2B_ii) and turns the residual of j ∈ P into r_j + T_ij w_i/B_ii and its
Schur complement into σ_j + T_ij²/B_ii; keeping j then lowers the value by residual²/(2·Schur complement). So the
exchange of i for j changes the optimal value by exactly

    Δ_ij = w_i²/(2B_ii) − (r_j + T_ij w_i/B_ii)² / (2(σ_j + T_ij²/B_ii)),

O(1) for each of the |S|·|P| pairs. The best pair is exchanged and everything computed afresh, until no exchange
helps. An exchange counts only if the value evaluated at the new mask is smaller: that value depends on the mask
alone and falls with every step, so round-off cannot make the search go round in circles. The pattern is only asked
whether it contains a mask, for one pair after the other, the best first. Layers of rows, and patterns of quotas, are
searched by ``row_swap``.

The classical exchange step of best-subset selection (Miller, Subset Selection in Regression, 2002, §3.9); on pruning,
Benbaki et al., CHITA, ICML 2023, run a block form of it on the selection.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, cholesky

from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.kernel.curvature import Curvature, RowsCurvature
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.forms.unit_diagonal import inverse_of, unit_diagonal
from cbs_opt.solvers.heuristic.greedy_obs import prune_in_sequence
from cbs_opt.solvers.heuristic.row_swap import improve_rows, operations_of_search
from cbs_opt.solvers.heuristic.start import filled

LEAST_DECREASE = 1e-12
"""Relative decrease of the value below which an exchange is round-off."""


def run(problem: PruningProblem, *, start: Any = None, device: str = "cpu") -> Outcome:
    """Exchange pairs until none helps.

    Parameters
    ----------
    start : boolean array, shape (n,), optional
        A mask in Z to start from; the greedy OBS mask when left out. One that keeps fewer weights than Z
        allows is filled up with the largest.
    device : str
        Where the rows of a layer are searched: 'cpu' or 'cuda'. A dense problem is searched on the CPU.

    Raises
    ------
    PatternError
        ``start`` is not in Z.
    """
    mask = None if start is None else filled(problem, start)
    return Outcome(improved_mask(problem.curvature, problem, mask, device))


@singledispatch
def improved_mask(curvature: Curvature, problem: PruningProblem, start: Mask | None, device: str) -> Mask:
    """The mask of ``problem``, whose curvature is the first argument, that no exchange improves, from ``start``."""
    pattern = problem.Z.labelled
    if pattern is not None and not pattern.single:
        return improve_rows(problem, start, device)
    return _whole(problem, start)


@improved_mask.register
def _row_by_row(curvature: RowsCurvature, problem: PruningProblem, start: Mask | None, device: str) -> Mask:
    return _whole(problem, start) if problem.Z.labelled is None else improve_rows(problem, start, device)


def _whole(problem: PruningProblem, start: Mask | None) -> Mask:
    H, center = problem.curvature.dense(), problem.minimizer()
    mask = prune_in_sequence(H, center, problem.Z) if start is None else start
    return improve(H, center, mask, problem.Z)


def improve(H: Matrix, center: Vector, mask: Mask, pattern: Pattern) -> Mask:
    """A mask with as many weights kept as ``mask`` that no exchange of two free weights inside the pattern improves.

    Parameters
    ----------
    H : array, shape (n, n)
        Positive definite.
    center : array, shape (n,)
        The unconstrained minimizer H⁻¹b.
    mask : boolean array, shape (n,)
        The start (1 keeps), in the pattern.
    """
    U, scale = unit_diagonal(H)
    target = center * scale
    state = State.at(U, target, mask)
    while True:
        exchanged = _best_exchange(U, state, pattern)
        if exchanged is None:
            return state.mask
        following = State.at(U, target, exchanged)
        if not following.value < (1.0 - LEAST_DECREASE) * state.value:
            return state.mask
        state = following


def _best_exchange(U: Matrix, state: State, pattern: Pattern) -> Mask | None:
    """The mask after the exchange that lowers the value most, of those the pattern contains; None: none lowers it."""
    leaving, entering = np.flatnonzero(state.mask & pattern.free), np.flatnonzero(~state.mask & pattern.free)
    if not leaving.size or not entering.size:
        return None
    changes = exchange_changes(U, state, leaving, entering)
    promising = np.flatnonzero(changes < -LEAST_DECREASE * state.value)
    for pair in promising[np.argsort(changes.ravel()[promising], kind="stable")]:
        i, j = divmod(int(pair), len(entering))
        exchanged = state.mask.copy()
        exchanged[leaving[i]], exchanged[entering[j]] = False, True
        if pattern.contains(exchanged):
            return exchanged
    return None


@dataclass(frozen=True, eq=False)
class State:
    """A mask, re-tuned: weights and residual c − w ↦ H(c − w), both of shape (n,), and the value ½(c − w)ᵀH(c − w)."""

    mask: Mask
    factor: Matrix
    w: Vector
    residual: Vector
    value: float

    @classmethod
    def at(cls, H: Matrix, center: Vector, mask: Mask) -> State:
        kept = np.flatnonzero(mask)
        difference = np.where(mask, 0.0, center)
        factor = np.zeros((0, 0))
        if kept.size:
            factor = cholesky(H[np.ix_(kept, kept)], lower=True, check_finite=False)
            difference[kept] = -cho_solve((factor, True), H[kept] @ difference, check_finite=False)
        residual = H @ difference
        w = np.where(mask, center - difference, 0.0)
        return cls(mask, factor, w, residual, 0.5 * float(difference @ residual))


def exchange_changes(H: Matrix, state: State, leaving: Any, entering: Any) -> Matrix:
    """Δ of the docstring above for kept indices ``leaving`` (L,) and pruned ones ``entering`` (E,); shape (L, E)."""
    kept = np.flatnonzero(state.mask)
    B = inverse_of(state.factor)
    cross = H[np.ix_(kept, entering)]
    T = B @ cross
    schur = np.maximum(H[entering, entering] - np.einsum("ij,ij->j", cross, T), EPS * H[entering, entering])
    rows = np.searchsorted(kept, leaving)
    w, inverse = state.w[leaving, None], B[rows, rows, None]
    share = T[rows] / inverse
    decrease = (state.residual[entering] + share * w) ** 2 / (schur + share * T[rows])
    return np.asarray(0.5 * (w * w / inverse - decrease))


SPEC = MethodSpec(
    name="swap",
    run=run,
    summary="greedy-obs, then exchange pairs of weights on the joint objective until none helps",
    exact=False,
    objective=Objective.JOINT,
    reference="Miller, Subset Selection in Regression, 2002",
    patterns=(Pattern,),
    operations=operations_of_search,
)
