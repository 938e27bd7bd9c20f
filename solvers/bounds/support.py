"""A lower bound on f over all weights on a given support, from weights that nearly minimize f there.

With d = w − w̄ and ρ = g + Hd, every w' on the support S of w has

    f(w') = f(w) + ρ_Sᵀ(w' − w)_S + ½(w' − w)_SᵀH_SS(w' − w)_S ≥ f(w) − ½ρ_SᵀH_SS⁻¹ρ_S ≥ f(w) − ½‖U⁻¹ρ_S‖²/λ,      (S)

with U = diag(H_ii)^½ and λ the smallest eigenvalue of U⁻¹HU⁻¹. The round-off of the computation is subtracted. It is
bounded with r = Σ|d_i|U_i: no partial sum of (Hd)_i exceeds U_i·r in size, since |H_ij| ≤ U_iU_j.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.kernel.problem import PruningProblem


def support_bounds(problem: PruningProblem, weights: Matrix, masks: Mask | None) -> Vector:
    """Proven lower bounds (S) on f over the weights on each of B masks, shape (B,); −inf where nothing is proven.

    Parameters
    ----------
    problem : PruningProblem
        The problem; its curvature must be exact, as that of ``problem.below()`` is.
    weights : array, shape (B, n)
        For each mask the weights that nearly minimize f on it, zero elsewhere.
    masks : boolean array, shape (B, n), or None
        The masks. None: the bounds are on f at the given weights themselves.
    """
    H, g, n = problem.curvature.dense(), problem.linear_term(), problem.n
    unit = np.sqrt(H.diagonal())
    d = weights - problem.w_bar
    image = d @ H
    reach = np.abs(d) @ unit
    linear = np.abs(d) @ np.abs(g)
    value = problem.offset + 0.5 * np.einsum("bi,bi->b", d, image) + d @ g
    # Half an eps for every rounding: of d and of n products in each (Hd)_i, of d and n products once more, of three
    # sums.
    slip = EPS * ((n + 3) * 0.5 * reach * reach + (0.5 * n + 2.0) * linear + 1.5 * abs(problem.offset))
    if masks is not None:
        rho = np.abs(image + g) / unit + (n + 4) * EPS * (reach[:, None] + np.abs(g) / unit)
        spectrum = np.linalg.eigvalsh(H / unit / unit[:, None])
        least = float(spectrum[0]) - 4.0 * n * EPS * float(spectrum[-1])
        left = np.where(masks, rho, 0.0)
        squares = np.einsum("bi,bi->b", left, left)
        slip += np.where(squares > 0.0, 0.51 * squares / least, 0.0) if least > 0.0 else np.inf
    proven = value - 1.01 * slip
    # Without a first-order term no w lies below f(w̄).
    return np.asarray(np.maximum(proven, problem.offset) if problem.g is None else proven)
