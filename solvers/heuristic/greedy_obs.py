"""Greedy OBS: prune one weight at a time, the cheapest first, and re-tune all others after each.

With S the weights still kept, B = (H_SS)⁻¹ and w the re-tuned weights on S, pruning p costs w_p²/(2B_pp); then

    w ← w − B_:p w_p/B_pp,            B ← B − B_:p B_p:/B_pp            (row and column p become zero)

is the exact re-tuning and the exact inverse for S∖{p}: O(n²) a weight, O(kn²) in all. Hassibi & Stork, NIPS 1992;
Frantar & Alistarh, Optimal Brain Compression, NeurIPS 2022 (their ExactOBS).

The downdates lose digits as B shrinks. B is therefore computed afresh, from a Cholesky factor in units of unit
diagonal, when an entry of its diagonal has shrunk so far that the lost digits count, and whenever half of the
weights it was computed for are gone (which also halves the matrix). The rows of a layer are pruned side by side, see
``greedy_rows``.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from scipy.linalg import blas, cho_solve, cholesky

from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.curvature import Curvature, RowsCurvature
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.operations import LayerSize, Operations
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.forms.unit_diagonal import inverse_of, unit_diagonal
from cbs_opt.solvers.heuristic.greedy_rows import prune_rows

SHRUNK = 1e-5
"""Share of its freshly computed value at which a diagonal entry of B has lost too many digits."""

DOWNDATES = 15
"""For the estimate: operations of a row's trace, over d³."""


def run(problem: PruningProblem, *, device: str = "cpu") -> Outcome:
    """Prune in sequence until the mask is in Z.

    Parameters
    ----------
    device : str
        Where the rows of a layer are pruned: 'cpu' or 'cuda'. A dense problem is solved on the CPU.
    """
    return Outcome(greedy_mask(problem.curvature, problem, device))


@singledispatch
def greedy_mask(curvature: Curvature, problem: PruningProblem, device: str) -> Mask:
    """The greedy mask of ``problem``, whose curvature is the first argument: all weights in one sequence."""
    return prune_in_sequence(curvature.dense(), problem.minimizer(), problem.Z)


@greedy_mask.register
def _side_by_side(curvature: RowsCurvature, problem: PruningProblem, device: str) -> Mask:
    return prune_rows(problem, device)


def prune_in_sequence(H: Matrix, center: Vector, pattern: Pattern) -> Mask:
    """The greedy mask, shape (n,); ties prune the lower index.

    Parameters
    ----------
    H : array, shape (n, n)
        Positive definite.
    center : array, shape (n,)
        The unconstrained minimizer H⁻¹b.
    pattern : Pattern
        Only weights are pruned whose loss leaves the largest mask of Z that can still be reached as large as
        it was: exactly n − k weights stay for a cardinality, exactly N of a group for N:M.
    """
    U, scale = unit_diagonal(H)
    target = center * scale
    z = pattern.free | pattern.argmax(np.zeros(len(H)))
    while True:
        kept = np.flatnonzero(z)
        w, B = _retuned(U, target, z)
        fresh = B.diagonal().copy()
        for _ in range(max(1, len(kept) // 2)):
            candidates = pattern.prunable(z)[kept]
            if not candidates.any():
                return z
            p = int(np.argmin(np.where(candidates, w * w / B.diagonal(), np.inf)))
            z[kept[p]] = False
            column = B[:, p].copy()
            w -= column * (w[p] / column[p])
            B = blas.dger(-1.0 / column[p], column, column, a=B, overwrite_a=True)
            w[p] = B[p, :] = B[:, p] = 0.0
            B[p, p] = fresh[p]
            if (B.diagonal() < SHRUNK * fresh).any():
                break


def _retuned(U: Matrix, target: Vector, z: Mask) -> tuple[Vector, Matrix]:
    """The re-tuned weights on the kept set S, shape (S,), and (U_SS)⁻¹, shape (S, S), in column-major order."""
    kept, pruned = np.flatnonzero(z), np.flatnonzero(~z)
    if not kept.size:
        return np.zeros(0), np.zeros((0, 0), order="F")
    factor = cholesky(U[np.ix_(kept, kept)], lower=True, check_finite=False)
    w = target[kept] + cho_solve((factor, True), U[np.ix_(kept, pruned)] @ target[pruned], check_finite=False)
    return w, inverse_of(factor)


def operations(size: LayerSize) -> Operations:
    """Of as many downdates of an inverse as a row has weights, in every row."""
    return Operations(double=DOWNDATES * size.rows * size.inputs**3)


SPEC = MethodSpec(
    name="greedy-obs",
    run=run,
    summary="prune one weight at a time by w_i²/[H⁻¹]_ii, re-tuning after each",
    exact=False,
    objective=Objective.JOINT,
    reference="Frantar & Alistarh, NeurIPS 2022",
    patterns=(Pattern,),
    operations=operations,
)
