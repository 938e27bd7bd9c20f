"""How far the updated weights may lie above the best weights on their support.

Let r = (H(w − w̄) + g)_S be the gradient on the kept weights S. The least f on that support is f(w) − ½ rᵀH_SS⁻¹r, and
where H ⪰ λI

    f(w) − min f ≤ ‖r‖² / (2λ).                                                                     (excess)

For H = AᵀA + λI, in float64, with y = A(w − w̄) and D = Σ|w_i − w̄_i|‖A_i‖, the rounding of r_i is at most

    ‖A_i‖ ((m + 8)·eps·‖y‖ + (n + 8)·eps·D) + 8·eps·(λ|w_i − w̄_i| + |g_i|)

(eps is twice the unit of rounding, which leaves room for terms of higher order), and is added to |r_i|. For a dense H
no such λ is known, so that (excess) says nothing; the update is then one Cholesky solve in units where the diagonal is
one.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from cbs_opt.kernel.arrays.types import EPS, Mask, Vector
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, Curvature, DiagonalCurvature, FactorCurvature
from cbs_opt.kernel.problem import PruningProblem


def update_excess(problem: PruningProblem, mask: Mask, weights: Vector) -> float:
    """How far f(weights) may lie above the least f on the support of ``mask``, by (excess) of this module.

    For a dense curvature, of which (excess) says nothing, 0 is returned.

    Parameters
    ----------
    problem : PruningProblem
        The quadratic model.
    mask : boolean array, shape (n,)
        1 keeps.
    weights : array, shape (n,)
        ``obs_update(problem, mask)``.
    """
    return excess(problem.curvature, weights - problem.w_bar, mask, problem.linear_term())


@singledispatch
def excess(curvature: Curvature, d: Vector, z: Mask, g: Vector) -> float:
    """(excess) at the weights w̄ + ``d``, all arrays of shape (n,); 0 for the classes that it says nothing of."""
    return 0.0


@excess.register
def _block_diagonal(curvature: BlockDiagonalCurvature, d: Vector, z: Mask, g: Vector) -> float:
    parts = zip(curvature.blocks, curvature.slices, strict=True)
    return sum(excess(block, d[part], z[part], g[part]) for block, part in parts)


@excess.register
def _diagonal(curvature: DiagonalCurvature, d: Vector, z: Mask, g: Vector) -> float:
    h = curvature.diagonal()
    r = np.abs(h * d + g) + 8 * EPS * (h * np.abs(d) + np.abs(g))
    return 0.51 * float(np.sum((r * r / h)[z]))


@excess.register
def _factor(curvature: FactorCurvature, d: Vector, z: Mask, g: Vector) -> float:
    lam, columns = curvature.damping, np.sqrt(curvature.column_squares)
    y = curvature.image(d)
    r = np.abs(curvature.back(y) + lam * d + g) + 8 * EPS * (lam * np.abs(d) + np.abs(g))
    D = float(np.abs(d) @ columns)
    r += columns * (EPS * ((curvature.m + 8) * float(np.linalg.norm(y)) + (curvature.n + 8) * D))
    return 0.51 * float(np.sum(r[z] ** 2)) / lam
