"""The value of the relaxation of a splitting, about, under any pattern: by the method of Frank and Wolfe.

For H = R + diag(D) + Σ q_e u_e u_eᵀ the relaxation minimizes over conv Z the convex function

    g(z) = min_w ½wᵀRw − bᵀw + ½Σ D_i w_i²/z_i + ½Σ q_e (u_eᵀw)²/ζ_e,      ζ_e = min(1, z(S_e)),

whose gradient has the entries −½D_i w_i²/z_i² − ½Σ_{e ∋ i, ζ_e < 1} q_e (u_eᵀw)²/ζ_e². At each point the oracle's best
mask s for the negative gradient gives the lower bound g(z) + ∇g(z)ᵀ(s − z) on the relaxation, and the direction s − z
of the next step. This is good enough to tell splittings apart. It is not a proof, since it does not account for
round-off.

M. Frank & P. Wolfe, An algorithm for quadratic programming, Naval Research Logistics Quarterly 3, 1956.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.patterns import Pattern

ROUNDS = 150
"""Steps of the method."""

VERTICES = 40
"""The first point is the mean of so many random masks."""

LEAST = 1e-9
"""No z_i falls below this."""


def relaxed_value(H: Matrix, b: Vector, D: Vector, U: Matrix, q: Vector, pattern: Pattern) -> float:
    """The best lower bound on the value of the relaxation that the method passes, in the units of f, less f(0).

    Parameters
    ----------
    H : array, shape (n, n)
        The curvature.
    b : array, shape (n,)
        b = Hw̄ − g.
    D : array, shape (n,)
        The diagonal that is split off.
    U : array, shape (n, E)
        The u_e, zero outside their sets.
    q : array, shape (E,)
        The weight q_e of each square.
    pattern : Pattern
        The pattern, which is asked through its oracle only.
    """
    n, rng = len(b), np.random.default_rng(0)
    inside = (U != 0.0).astype(np.float64)
    R = H - np.diag(D) - (U * q) @ U.T
    z = np.mean([pattern.argmax(rng.random(n)) for _ in range(VERTICES)], axis=0)
    best = -np.inf
    for k in range(ROUNDS):
        z = np.maximum(z, LEAST)
        zeta = np.minimum(1.0, inside.T @ z)
        w = np.linalg.solve(R + np.diag(D / z) + (U * (q / zeta)) @ U.T, b)
        along = q * (U.T @ w / zeta) ** 2
        slope = -0.5 * D * (w / z) ** 2 - 0.5 * inside @ np.where(zeta < 1.0, along, 0.0)
        step = pattern.argmax(-slope) - z
        best = max(best, float(-0.5 * b @ w + slope @ step))
        z = z + 2.0 / (k + 3.0) * step
    return best
