"""The dual bound (D) of a factored curvature H = AᵀA + λI: m variables, two passes over A an evaluation.

With α ∈ Rᵐ in the place of A(w − w̄), y = Aᵀα + g and s_i = (y_i − λw̄_i)²/(2λ),

    d(α) = offset − ½‖α‖² + Σ_i min(pruned_i, kept_i) over the best mask in Z
         = offset − ½‖α‖² + Σ_{z_i=0} (½λw̄_i² − y_i w̄_i) − Σ_{z_i=1} y_i²/(2λ),   z = argmax_{z∈Z} Σ z_i s_i,

is a lower bound on the joint problem for every α: ½‖Ad‖² ≥ αᵀAd − ½‖α‖², and what is left is minimized
coordinate by coordinate. It is concave; −α + A d(α), d_i = −w̄_i where pruned and −y_i/λ where kept, is a
supergradient. Every pattern works through its oracle.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from cbs_opt.curvature import FactorCurvature
from cbs_opt.problem import PruningProblem
from cbs_opt.update import obs_update
from cbs_opt.validate import EPS, Vector

EVALUATIONS = 300


def dual_bound(problem: PruningProblem, evaluations: int = EVALUATIONS) -> tuple[float, int]:
    """The largest d(α) that L-BFGS finds from the magnitude support, and the evaluations it took."""
    start = obs_update(problem, problem.Z.argmax(problem.w_bar**2))
    curvature = problem.curvature
    assert isinstance(curvature, FactorCurvature), "the caller checks the curvature"
    # In units of the start's objective the line search's absolute thresholds mean the same for any problem.
    unit = max(abs(problem.objective(start)), float(np.finfo(np.float64).tiny))
    root = np.sqrt(unit)
    best = -np.inf
    count = 0

    def negative(scaled: Vector) -> tuple[float, Vector]:
        nonlocal best, count
        value, gradient = dual_value(problem, scaled * root)
        best = max(best, value)
        count += 1
        return -value / unit, -gradient * (root / unit)

    alpha = curvature.A @ (start - problem.w_bar)
    minimize(negative, alpha / root, jac=True, method="L-BFGS-B",
             options={"maxfun": evaluations, "maxiter": evaluations, "maxcor": 20, "ftol": 1e-9, "gtol": 1e-12})
    return best, count


def dual_value(problem: PruningProblem, alpha: Vector) -> tuple[float, Vector]:
    """d(α) with its round-off margin subtracted, and a supergradient (m,)."""
    curvature = problem.curvature
    assert isinstance(curvature, FactorCurvature), "the caller checks the curvature"
    A, lam, w_bar = curvature.A, curvature.damping, problem.w_bar
    image = A.T @ alpha
    y = image if problem.g is None else image + problem.g
    z = problem.Z.argmax((y - lam * w_bar) ** 2 / (2.0 * lam))
    costs = np.where(z, -(y * y) / (2.0 * lam), (0.5 * lam * w_bar - y) * w_bar)
    half_square = 0.5 * float(alpha @ alpha)
    value = problem.offset - half_square + float(costs.sum())
    # y_i is wrong by at most m·eps·‖A_i‖‖α‖; what that does to the costs, and the sums themselves.
    m, n = A.shape
    error = m * EPS * np.sqrt(np.einsum("ij,ij->j", A, A) * (alpha @ alpha))
    if problem.g is not None:
        error += EPS * np.abs(y)
    d = np.where(z, y / lam, w_bar)
    slip = float(error @ np.abs(d)) + float(error @ error) / (2.0 * lam)
    slip += float(np.sqrt(n) + 8.0) * EPS * (half_square * m + float(np.abs(costs).sum()) + abs(problem.offset))
    step = np.where(z, -y / lam, -w_bar)
    return value - slip, A @ step - alpha
