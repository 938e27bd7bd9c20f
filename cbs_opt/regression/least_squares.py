"""Least squares as a pruning problem: the response is one weight more, and it has to go.

With A = (X, y/s), a weight for each column, w̄ = (0, …, 0, s) and H = AᵀA/m + ρI, any w whose last weight is zero has
A(w − w̄) = Xw − y, so that

    −½ρs² + ½(w − w̄)ᵀH(w − w̄) = ‖y − Xw‖²/(2m) + ½ρ‖w‖².

The best subset of the columns of X is the best mask that prunes y. Nothing is formed but AᵀA, whose rounding is in
every proven bound; a linear term Xᵀy, and a minimizer that a linear system was solved for, would each add their own.
s is a power of two, for which no digit is lost; it is below 1 where ρs² would otherwise drown the loss.
"""

from __future__ import annotations

import math

import numpy as np

from cbs_opt.errors import InputError, NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.curvature import DenseCurvature
from cbs_opt.kernel.curvature.second_moment import scales, second_moment, slack
from cbs_opt.kernel.patterns import Cardinality
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.regression.columns import Columns, norms

DROWNED = 2.0**-10
"""Most that ρs² may be of ‖y‖²/m."""


def least_squares(x: Columns, y: Columns, k: int, ridge: float, name: str) -> PruningProblem:
    """The problem of p + 1 weights, the last of which is the response's: at most k of the p columns of ``x`` stay.

    Raises
    ------
    InputError
        No ridge, and columns that depend on each other in float64 (names a ridge that would do).
    """
    m, p = x.values.shape
    unit = _unit(float(norms(y.values)[0]) / math.sqrt(m), ridge)
    A = np.column_stack([x.values, y.values / unit])
    try:
        H, rounded = second_moment(A, ridge, m)
        error = _products(norms(A), np.append(x.error, y.error / unit)) / m
        curvature = DenseCurvature.formed(H, rounded + slack(error, scales(H)), ridge)
        curvature.below()
    except NotPositiveDefiniteError as found:
        raise InputError(
            f"X: its {p} columns and y depend linearly on each other to the digits of float64; leave columns out, or "
            f"give a ridge of at least {found.sufficient_damping:.3g}"
        ) from None
    response = np.zeros(p + 1)
    response[p] = unit
    return PruningProblem(
        response,
        curvature,
        pattern=Cardinality(p + 1, p + 1 - k, forbid=[p]),
        offset=-0.5 * ridge * unit**2,
        name=name,
    )


def _unit(size: float, ridge: float) -> float:
    """s ≤ 1, for a response of the root mean square ``size``."""
    if ridge <= DROWNED * size * size:
        return 1.0
    return float(2.0 ** math.floor(math.log2(size) + 0.5 * (math.log2(DROWNED) - math.log2(ridge))))


def _products(size: Vector, error: Vector) -> Vector:
    """What errors of columns of this 2-norm may change in their products, entry by entry, shape (n, n)."""
    return np.outer(size, error) + np.outer(error, size) + np.outer(error, error)
