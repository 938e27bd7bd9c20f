"""The diagonal D that all rows of a layer take out of their shared curvature, by a barrier method.

The relaxation's value is concave in D, with derivative Σ_rows ½w_i²(1/z_i − 1): only weights with 0 < z_i < 1 gain. Its
linear model is maximized over {D ≥ 0 : H₁ − D ⪰ 0} with a log-determinant barrier,

    max_D gainᵀD + μ (log det(H₁ − D) + κ Σ log D_i),

by Newton's method: with G = (H₁ − D)⁻¹ the gradient is gain − μ diag(G) + μκ/D, the Hessian −μ(G∘G) − μκ diag(1/D²).
Everything is a matrix operation, where the coordinate ascent of small blocks would make d rank-one updates.

Boyd & Vandenberghe, Convex Optimization, 2004, §9.5 and §11.3 (Newton's method, damped by its decrement, on barriers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbs_opt.solvers.bounds.rows_admm import Point

if TYPE_CHECKING:
    import torch

POSITIVE = 1e-2
"""κ, the weight of the barrier that keeps D positive."""

LEAST_GAIN = 1e-2
"""Every weight counts for at least this part of the largest gain, so that its D_i keeps some size."""

NEWTON_STEPS = 8


def first_splitting(U: torch.Tensor) -> torch.Tensor:
    """D = δI with U − D safely positive definite, shape (d,): δ is about half of the smallest eigenvalue."""
    import torch

    factor = torch.linalg.cholesky(U)
    v = torch.ones((len(U), 1), dtype=U.dtype, device=U.device)
    size = 1.0
    for _ in range(20):  # the power method on U⁻¹
        v = torch.cholesky_solve(v / v.norm(), factor)
        size = float(v.norm())
    delta = 0.5 / size
    while not _definite(U, torch.full((len(U),), delta, dtype=U.dtype, device=U.device)):
        delta *= 0.5
    return torch.full((len(U),), 0.8 * delta, dtype=U.dtype, device=U.device)


def gain_of(D: torch.Tensor, at: Point) -> torch.Tensor:
    """dvalue/dD, shape (d,), raised to ``LEAST_GAIN`` of the largest."""
    import torch

    partial = (at.z > 0) & (at.z < 1)
    gain = torch.where(partial, 0.5 * at.x**2 * (1.0 / at.z.clamp(min=1e-300) - 1.0), 0.0).sum(0)
    return gain.clamp(min=LEAST_GAIN * float(gain.max()))


def ascended(U: torch.Tensor, D: torch.Tensor, gain: torch.Tensor, mu: float) -> torch.Tensor:
    """D after Newton steps on the barrier problem, shape (d,); U − diag(D) stays positive definite."""
    import torch

    for _ in range(NEWTON_STEPS):
        G = torch.cholesky_inverse(torch.linalg.cholesky(U - torch.diag(D)))
        gradient = gain / mu - G.diagonal() + POSITIVE / D
        factor, info = torch.linalg.cholesky_ex(G * G + torch.diag(POSITIVE / D**2))
        if int(info):
            return D
        step = torch.cholesky_solve(gradient[:, None], factor)[:, 0]
        decrement = float(gradient @ step) ** 0.5
        length = 1.0 if decrement < 0.25 else 1.0 / (1.0 + decrement)
        while not _definite(U, D + length * step):
            length *= 0.5
            if length < 1e-12:
                return D
        D = D + length * step
        if decrement < 0.1:
            break
    return D


def _definite(U: torch.Tensor, D: torch.Tensor) -> bool:
    """Whether D > 0 and U − diag(D) has a Cholesky factor."""
    import torch

    return bool((D > 0).all()) and not int(torch.linalg.cholesky_ex(U - torch.diag(D)).info)
