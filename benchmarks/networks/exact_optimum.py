"""The joint optimum of a tiny problem in rational arithmetic: what no proven bound may exceed.

Masks are ranked in float64 by their re-tuned values; the best few are re-tuned in fractions, where the floats of the
problem are its exact data. The smallest exact value is f of a feasible point, so a bound above it is wrong, with no
tolerance at all, whatever the ranking did.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np

from cbs_opt import BlockDiagonalCurvature, DiagonalCurvature, FactorCurvature, PruningProblem
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.curvature import Curvature

Number = Fraction
Table = list[list[Number]]

BEST = 4
"""Masks that are re-tuned in fractions."""


def exact_optimum(problem: PruningProblem) -> Number:
    """The smallest f over the best masks, exactly."""
    H = exact_matrix(problem.curvature)
    w = _numbers(problem.w_bar)
    g = _numbers(problem.linear_term())
    masks = [z for bits in product((False, True), repeat=problem.n) if problem.Z.contains(z := np.array(bits))]
    ranked = sorted(masks, key=lambda mask: _approximate(problem, H, mask))
    return Number(problem.offset) + min(value_of(H, w, g, mask) for mask in ranked[:BEST])


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


def _approximate(problem: PruningProblem, H: Table, z: Mask) -> float:
    """f of the re-tuned mask in float64, inf where that fails."""
    K = np.array([[float(value) for value in row] for row in H])
    unit = np.sqrt(K.diagonal())
    K = K / unit / unit[:, None]
    w, g = problem.w_bar * unit, problem.linear_term() / unit
    d = np.where(z, 0.0, -w)
    kept = np.flatnonzero(z)
    try:
        d[kept] = np.linalg.solve(K[np.ix_(kept, kept)], -(K[kept] @ d + g[kept]))
    except np.linalg.LinAlgError:
        return float("inf")
    return float(g @ d + 0.5 * d @ K @ d)


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
    n = len(w)
    image = [sum((H[i][j] * d[j] for j in range(n)), Number(0)) for i in range(n)]
    return sum((d[i] * (g[i] + image[i] / 2) for i in range(n)), Number(0))
