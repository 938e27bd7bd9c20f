"""The dual bound (D) for factored curvatures of any size: one vector α, and intervals where exact numbers are too slow.

With H = AᵀA + diag(λ), A (m, n), and y = Aᵀα + g for any α ∈ Rᵐ: ½‖Ad‖² ≥ αᵀAd − ½‖α‖², so with d = w − w̄

    f(w) ≥ offset − ½‖α‖² + Σ_i [ y_i d_i + ½ λ_i d_i² ],

where a kept weight contributes at least −y_i²/(2λ_i) and a pruned one, d_i = −w̄_i, exactly ½λ_iw̄_i² − y_iw̄_i. The
best mask is found as in ``region``. Only the products with A are computed in float64; with u = 2⁻⁵³ their errors are

    |fl(Aᵀα) − Aᵀα| ≤ γ_m |A|ᵀ|α|,   γ_m = mu/(1 − mu),   in any order of summation

(N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2002, §3.1 and §3.5), plus what underflow may
lose. All the rest is computed on intervals with integer ends.
"""

from __future__ import annotations

from fractions import Fraction
from functools import singledispatch

import numpy as np

from cbs_opt.errors import UnsupportedError
from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.curvature import Curvature, DiagonalCurvature, FactorCurvature
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.proof.certificate.limits import Limits
from cbs_opt.proof.certificate.record import NotVerifiedError
from cbs_opt.proof.check.integers import exponent_of, fraction, integers, shifted
from cbs_opt.proof.check.region import GUARD, Choice

UNIT = 2.0**-53
TINY = 2.0**-1022

CHUNK = 4096
"""Rows whose absolute values are formed at a time."""


def takes(problem: PruningProblem) -> bool:
    """Whether this bound exists for the class of the problem's curvature."""
    return split.dispatch(type(problem.curvature)) is not split.dispatch(Curvature)


def parts(problem: PruningProblem) -> tuple[Matrix, Vector]:
    """A of shape (m, n) and λ of shape (n,) with H = AᵀA + diag(λ), for the curvature of ``problem``."""
    return split(problem.curvature)


@singledispatch
def split(curvature: Curvature) -> tuple[Matrix, Vector]:
    """A of shape (m, n) and λ of shape (n,) with H = AᵀA + diag(λ), for the classes that are stored in this form.

    A function that is registered here is trusted: the float64 numbers that it returns are taken as the curvature.

    Raises
    ------
    UnsupportedError
        The curvature is of another class.
    """
    raise UnsupportedError(f"proof: the dual certificate is for factored curvatures, this one is {curvature.kind}")


@split.register
def _factor(curvature: FactorCurvature) -> tuple[Matrix, Vector]:
    return curvature.A, np.full(curvature.n, curvature.damping)


@split.register
def _diagonal(curvature: DiagonalCurvature) -> tuple[Matrix, Vector]:
    return np.zeros((0, curvature.n)), curvature.diagonal()


def dual_choice(problem: PruningProblem, limits: Limits, alpha: Vector, caution: float = 1.0) -> Choice:
    """Bound (D) on the masks in ``limits`` at ``alpha``, shape (m,); the problem's own pattern is ignored.

    ``caution`` widens the intervals of Aᵀα. A bound that is computed with 4 is proven with 1 on any machine, even where
    the sums of Aᵀα are added up in another order.
    """
    A, damping = parts(problem)
    image, error = _times(A.T, alpha)
    error = caution * error
    g = problem.linear_term()
    unit = exponent_of(image, error, g, problem.w_bar, damping)
    y, slack = integers(image, unit) + integers(g, unit), integers(error, unit)
    w_bar, lam = integers(problem.w_bar, unit), integers(damping, unit)
    # Twice the costs, in units of 2^result and rounded downwards: lower bounds for every y in its interval.
    result = min(unit, 3 * unit) - GUARD
    farthest = abs(y) + slack
    kept = shifted(-farthest * farthest, unit - result) // lam
    pruned = shifted(lam * w_bar * w_bar, 3 * unit - result)
    pruned = pruned + shifted(-2 * (y * w_bar + slack * abs(w_bar)), 2 * unit - result)
    chosen = limits.keep
    free = np.flatnonzero(~(chosen | limits.forbid))
    base = sum(kept[chosen]) + sum(pruned[~chosen])
    return Choice(
        free,
        limits.labels[free],
        (pruned - kept)[free],
        int(base),
        limits.room - limits.count(chosen),
        result - 1,
        Fraction(problem.offset) - _half_square(alpha, np.zeros_like(alpha)),
    )


def dual_value(problem: PruningProblem, w: Vector) -> Fraction:
    """An upper bound on f(w), for ``w`` of shape (n,); it is exact up to a bound on the round-off of A(w − w̄)."""
    A, damping = parts(problem)
    image, error = _times(A, w - problem.w_bar)  # the rounding of w − w̄ is in the bound of _times
    unit = exponent_of(w, problem.w_bar, problem.linear_term(), damping)
    d = integers(w, unit) - integers(problem.w_bar, unit)
    linear = int(integers(problem.linear_term(), unit).dot(d))
    quadratic = int((integers(damping, unit) * d).dot(d))
    exact = fraction(linear, 2 * unit) + fraction(quadratic, 3 * unit - 1)
    return Fraction(problem.offset) + exact + _half_square(image, error)


def _half_square(x: Vector, error: Vector) -> Fraction:
    """½ Σ (|x_j| + error_j)², exactly."""
    if x.size == 0:
        return Fraction(0)
    unit = exponent_of(x, error)
    reach = abs(integers(x, unit)) + integers(error, unit)
    return fraction(int(reach.dot(reach)), 2 * unit - 1)


def _times(M: Matrix, x: Vector) -> tuple[Vector, Vector]:
    """M x in float64, and a bound on how far each entry is from that of M x̃, for any x̃ that rounds to x."""
    if x.size == 0 or M.size == 0:
        return np.zeros(len(M)), np.zeros(len(M))
    with np.errstate(all="ignore"):
        image = M @ x
        size = np.abs(x)
        spread = np.concatenate([np.abs(M[i : i + CHUNK]) @ size for i in range(0, len(M), CHUNK)])
        # (k + 8)u·1.01 exceeds γ_k + u and the round-off of `spread` itself, for k up to 10^13.
        error = 1.01 * (len(x) + 8) * UNIT * spread
        # Products that underflow or are flushed to zero lose at most the smallest normal number (times a factor).
        largest = max(1.0, float(size.max()), float(np.abs(M).max()))
        error += 8.0 * (len(x) + 8) * TINY * largest
    if not (np.isfinite(image).all() and np.isfinite(error).all()):
        raise NotVerifiedError("the numbers overflow in float64")
    return image, error
