"""What is certain about one mask: f at given weights from below, and the least f on a support.

The sums of f(w) = offset + gᵀd + ½ dᵀHd, d = w − w̄, have at most N = 2n + m terms each, m the rows of a factor (n
where there is none). Since |H_ij| ≤ √H_ii √H_jj, with D = Σ|d_i|√H_ii they are wrong by at most

    (N + 8)·eps·(½ D² + |g|ᵀ|d|),                                                              (evaluation)

the rounding of d itself included. eps is twice the unit of rounding, which leaves room for what is of higher order
and for the roundings of the margin itself.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigvalsh

from cbs_opt.kernel.arrays.types import EPS, Mask, Vector
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, Curvature, FactorCurvature
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.sums import sum_below
from cbs_opt.kernel.update import obs_update


def value_below(problem: PruningProblem, w: Vector) -> float:
    """f(w) for these very weights, shape (n,), less whatever rounding may have added: never above the exact value."""
    return sum_below(*_value_and_margin(problem, w))


def least_below(problem: PruningProblem, mask: Mask) -> float:
    """A lower bound on f over all weights on the support ``mask``; −inf where none can be proven.

    H is formed. With r the gradient at the updated weights ŵ, what they may still lose on the support S is
    ½ r_Sᵀ H_SS⁻¹ r_S, at most ½‖r_S‖² over the smallest eigenvalue, in units where diag(H) is one.
    """
    w, kept = obs_update(problem, mask), np.flatnonzero(mask)
    terms = _value_and_margin(problem, w)
    if not kept.size:
        return sum_below(*terms)
    H, g, d = problem.curvature.dense(), problem.linear_term(), w - problem.w_bar
    root = np.sqrt(H.diagonal())
    r = np.abs(H @ d + g) + (problem.n + 8) * EPS * (root * float(root @ np.abs(d)) + np.abs(g))
    S = np.ix_(kept, kept)
    smallest = float(eigvalsh(H[S] / np.outer(root, root)[S])[0]) - (len(kept) + 8) * len(kept) * EPS
    if not smallest > 0:
        return -np.inf
    return sum_below(*terms, -0.51 * float(np.sum((r[kept] / root[kept]) ** 2)) / smallest)


def _value_and_margin(problem: PruningProblem, w: Vector) -> tuple[float, ...]:
    """The terms of f(w) in float64, and less (evaluation)."""
    d, g = w - problem.w_bar, problem.linear_term()
    D = float(np.abs(d) @ np.sqrt(problem.curvature.diagonal()))
    size = 0.5 * D * D + float(np.abs(g) @ np.abs(d))
    margin = (2 * problem.n + _rows(problem.curvature) + 8) * EPS * size
    return problem.offset, float(g @ d), 0.5 * problem.curvature.quadratic(d), -margin


def _rows(curvature: Curvature) -> int:
    """The most products that an entry of H is the sum of, where H is not stored."""
    if isinstance(curvature, BlockDiagonalCurvature):
        return max(map(_rows, curvature.blocks))
    return curvature.m if isinstance(curvature, FactorCurvature) else 0
