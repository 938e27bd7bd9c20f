"""Least squares as a pruning problem with one more weight, that of the response, which every mask prunes.

Let A = (X, y/s) with one weight for each column, w̄ = (0, …, 0, s) and H = AᵀA/m + ρI. Any w whose last weight is zero
has A(w − w̄) = Xw − y, so that

    −½ρs² + ½(w − w̄)ᵀH(w − w̄) = ‖y − Xw‖²/(2m) + ½ρ‖w‖².

The best subset of the columns of X is the best mask that prunes the weight of y. In this form only AᵀA is rounded, and
every proven bound allows for it; a linear term Xᵀy and the solution of a linear system would each add errors of their
own. The number s is a power of two, so that dividing by it loses no digit; it is below 1 where ρs² would otherwise be
large beside the loss, and cancel its digits.
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
"""The largest ratio of ρs² to ‖y‖²/m."""


def least_squares(x: Columns, y: Columns, k: int, ridge: float, name: str) -> PruningProblem:
    """The pruning problem of p + 1 weights, the last of them that of the response, which keeps at most k columns.

    Parameters
    ----------
    x : Columns
        The p columns of the data.
    y : Columns
        The response, as one column.
    k : int
        The largest number of columns that stay.
    ridge : float
        ρ ≥ 0.
    name : str
        The name of the problem.

    Raises
    ------
    InputError
        The columns depend linearly on each other to the digits of float64; the message names a ridge that suffices.
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
    """The power of two s ≤ 1 for a response with the root mean square ``size``."""
    if ridge <= DROWNED * size * size:
        return 1.0
    return float(2.0 ** math.floor(math.log2(size) + 0.5 * (math.log2(DROWNED) - math.log2(ridge))))


def _products(size: Vector, error: Vector) -> Vector:
    """Bounds on how far the inner products of columns are off, shape (n, n), from the 2-norms of columns and errors."""
    return np.outer(size, error) + np.outer(error, size) + np.outer(error, error)
