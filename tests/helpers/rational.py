"""Least losses in rational arithmetic: every mask tried, every linear system solved without rounding."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from cbs_opt import PruningProblem
from cbs_opt.kernel.curvature import FactorCurvature
from cbs_opt.testing.instances import masks_of

Matrix = list[list[Fraction]]


def hessian(problem: PruningProblem) -> Matrix:
    """H of the float64 numbers that the curvature holds: of a factor the exact AᵀA + λI."""
    curvature, n = problem.curvature, problem.n
    if isinstance(curvature, FactorCurvature):
        A = [[Fraction(x) for x in row] for row in curvature.A.tolist()]
        damping = Fraction(curvature.damping)
        return [[sum((row[i] * row[j] for row in A), damping * (i == j)) for j in range(n)] for i in range(n)]
    rows = curvature.dense().tolist()
    return [[Fraction(rows[min(i, j)][max(i, j)]) for j in range(n)] for i in range(n)]


def loss(problem: PruningProblem, w: NDArray[np.float64]) -> Fraction:
    """f(w), exactly."""
    step = [Fraction(x) - Fraction(y) for x, y in zip(w.tolist(), problem.w_bar.tolist(), strict=True)]
    return _rise(hessian(problem), _slope(problem), step) + Fraction(problem.offset)


def optimum(problem: PruningProblem) -> Fraction:
    """The least loss of all masks in the problem's pattern, exactly; for a handful of weights."""
    H, g = hessian(problem), _slope(problem)
    w_bar = [Fraction(x) for x in problem.w_bar.tolist()]
    masks = masks_of(problem.Z)
    codes = masks @ (1 << np.arange(problem.n))
    larger = np.where(masks, -1, codes[:, None] | 1 << np.arange(problem.n))
    maximal = masks[~np.isin(larger, codes).any(axis=1)]  # keeping more never hurts
    return min(_least(H, g, w_bar, np.flatnonzero(z).tolist()) for z in maximal) + Fraction(problem.offset)


def _slope(problem: PruningProblem) -> list[Fraction]:
    return [Fraction(x) for x in problem.linear_term().tolist()]


def _rise(H: Matrix, g: Sequence[Fraction], d: Sequence[Fraction]) -> Fraction:
    return sum(
        (x * (a + sum(map(Fraction.__mul__, row, d)) / 2) for x, a, row in zip(d, g, H, strict=True)), Fraction()
    )


def _least(H: Matrix, g: Sequence[Fraction], w_bar: Sequence[Fraction], kept: Sequence[int]) -> Fraction:
    """The least gᵀd + ½dᵀHd with w̄ + d zero outside ``kept``, by Gaussian elimination."""
    d = [Fraction() if i in kept else -x for i, x in enumerate(w_bar)]
    system = [[H[i][j] for j in kept] + [-g[i] - sum(map(Fraction.__mul__, H[i], d))] for i in kept]
    for pivot, row in enumerate(system):
        for below in system[pivot + 1 :]:
            times = below[pivot] / row[pivot]
            below[pivot:] = [x - times * y for x, y in zip(below[pivot:], row[pivot:], strict=True)]
    for place in reversed(range(len(kept))):
        row = system[place]
        known = sum((row[q] * d[kept[q]] for q in range(place + 1, len(kept))), Fraction())
        d[kept[place]] = (row[-1] - known) / row[place]
    return _rise(H, g, d)
