"""What the relaxation of a splitting comes to, about, under any pattern: by Frank and Wolfe, with the oracle alone.

For H = R + diag(D) + Σ q_e u_e u_eᵀ the relaxation minimizes over conv Z the convex function

    g(z) = min_w ½wᵀRw − bᵀw + ½Σ D_i w_i²/z_i + ½Σ q_e (u_eᵀw)²/ζ_e,      ζ_e = min(1, z(S_e)),

whose gradient has the entries −½D_i w_i²/z_i² − ½Σ_{e ∋ i, ζ_e < 1} q_e (u_eᵀw)²/ζ_e². At each point the oracle's best
mask s for it gives the lower bound g(z) + ∇g(z)ᵀ(s − z), and the direction of the next step. Good enough to tell
splittings apart; nothing here is a proof.

M. Frank & P. Wolfe, An algorithm for quadratic programming, Naval Research Logistics Quarterly 3, 1956.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.patterns import Pattern

ROUNDS = 150

VERTICES = 40
"""Masks whose mean is the first point."""

LEAST = 1e-9
"""Below it no z_i falls."""


def relaxed_value(H: Matrix, b: Vector, D: Vector, U: Matrix, q: Vector, pattern: Pattern) -> float:
    """A number the relaxation is not below (but for round-off), in the units of f − f(0).

    Parameters
    ----------
    H : array, shape (n, n)
    b : array, shape (n,)
    D : array, shape (n,)
    U : array, shape (n, E)
        The u_e, zero outside their sets.
    q : array, shape (E,)
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
