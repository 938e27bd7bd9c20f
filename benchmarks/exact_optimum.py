"""The optimum of a small problem in rational arithmetic: what no proven bound may exceed.

The floats of a problem are its exact data. Masks are ranked in float64; the best few are valued in fractions. The
smallest exact value is f of a feasible point, so that a bound above it is wrong, with no tolerance at all, whatever the
ranking did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from cbs_opt import BlockDiagonalCurvature, DiagonalCurvature, FactorCurvature, PruningProblem
from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.testing.instances import masks_of

Number = Fraction
Table = list[list[Number]]

BEST = 4
"""Masks that are valued in fractions."""


def exact_optimum(problem: PruningProblem) -> Number:
    """The smallest f over the masks, each with its best weights."""
    return ExactProblem.of(problem).optimum


@dataclass(frozen=True, eq=False)
class ExactProblem:
    """A problem whose H, w̄, g and offset are fractions."""

    problem: PruningProblem
    H: Table
    w: list[Number]
    g: list[Number]

    @classmethod
    def of(cls, problem: PruningProblem) -> ExactProblem:
        """Of the numbers that the problem holds."""
        H = exact_matrix(problem.curvature)
        return cls(problem, H, _numbers(problem.w_bar), _numbers(problem.linear_term()))

    @cached_property
    def optimum(self) -> Number:
        """The smallest f over the masks, each with its best weights."""
        best = self._best_masks(self._retuned)
        return Number(self.problem.offset) + min(value_of(self.H, self.w, self.g, z) for z in best)

    @cached_property
    def selection_optimum(self) -> Number:
        """The smallest f over the masks, the kept weights as trained."""
        return min(self.loss(np.where(z, self.problem.w_bar, 0.0)) for z in self._best_masks(self._trained))

    def loss(self, weights: Vector) -> Number:
        """f(weights)."""
        d = [new - old for new, old in zip(_numbers(weights), self.w, strict=True)]
        return Number(self.problem.offset) + _rise(self.H, self.g, d)

    def _best_masks(self, value: Callable[[Mask], float]) -> list[Mask]:
        return sorted(masks_of(self.problem.Z), key=value)[:BEST]

    @cached_property
    def _scaled(self) -> tuple[Matrix, Vector, Vector]:
        """H, w̄ and g in float64, in units in which H has a diagonal of ones, and the largest of w̄ and g is 1."""
        K = np.array([[float(value) for value in row] for row in self.H])
        unit = np.sqrt(K.diagonal())
        w, g = self.problem.w_bar * unit, self.problem.linear_term() / unit
        size = max(np.abs(w).max(), np.abs(g).max()) or 1.0
        return K / unit / unit[:, None], w / size, g / size

    def _trained(self, z: Mask) -> float:
        K, w, g = self._scaled
        d = np.where(z, 0.0, -w)
        return float(g @ d + 0.5 * d @ K @ d)

    def _retuned(self, z: Mask) -> float:
        """inf where that fails."""
        K, w, g = self._scaled
        d = np.where(z, 0.0, -w)
        kept = np.flatnonzero(z)
        try:
            d[kept] = np.linalg.solve(K[np.ix_(kept, kept)], -(K[kept] @ d + g[kept]))
        except np.linalg.LinAlgError:
            return float("inf")
        return float(g @ d + 0.5 * d @ K @ d)


def exact_matrix(curvature: Curvature) -> Table:
    """H of the stored data, without rounding."""
    if isinstance(curvature, BlockDiagonalCurvature):
        H = [[Number(0)] * curvature.n for _ in range(curvature.n)]
        for block, part in zip(curvature.blocks, curvature.slices, strict=True):
            for i, row in enumerate(exact_matrix(block)):
                H[part.start + i][part] = row
        return H
    if isinstance(curvature, FactorCurvature):
        columns = [_numbers(column) for column in curvature.stored.T.astype(np.float64)]
        H = [[sum((a * b for a, b in zip(x, y, strict=True)), Number(0)) for y in columns] for x in columns]
        for i in range(curvature.n):
            H[i][i] += Number(curvature.damping)
        return H
    if isinstance(curvature, DiagonalCurvature):
        diagonal = _numbers(curvature.diagonal())
        return [[d if i == j else Number(0) for j in range(len(diagonal))] for i, d in enumerate(diagonal)]
    return [_numbers(row) for row in curvature.dense()]


def _numbers(values: Vector) -> list[Number]:
    return [Number(float(value)) for value in values]


def value_of(H: Table, w: Sequence[Number], g: Sequence[Number], z: Mask) -> Number:
    """min f − f(w̄) on the support, by elimination: H_SS d_S = H_SP w̄_P − g_S."""
    kept, pruned = np.flatnonzero(z).tolist(), np.flatnonzero(~z).tolist()
    rows = [[H[i][j] for j in kept] + [sum((H[i][p] * w[p] for p in pruned), Number(0)) - g[i]] for i in kept]
    for k, row in enumerate(rows):
        pivot = row[k]  # positive: H is positive definite
        for other in rows[k + 1 :]:
            if other[k]:
                factor = other[k] / pivot
                other[k:] = [a - factor * b for a, b in zip(other[k:], row[k:], strict=True)]
    d = [Number(0) if kept_one else -w[i] for i, kept_one in enumerate(z)]
    for k in reversed(range(len(kept))):
        rest = sum((rows[k][j] * d[kept[j]] for j in range(k + 1, len(kept))), Number(0))
        d[kept[k]] = (rows[k][-1] - rest) / rows[k][k]
    return _rise(H, g, d)


def _rise(H: Table, g: Sequence[Number], d: Sequence[Number]) -> Number:
    """gᵀd + ½dᵀHd."""
    return sum((x * (slope + _inner(row, d) / 2) for x, slope, row in zip(d, g, H, strict=True)), Number(0))


def _inner(row: Sequence[Number], d: Sequence[Number]) -> Number:
    return sum((a * x for a, x in zip(row, d, strict=True) if a and x), Number(0))
