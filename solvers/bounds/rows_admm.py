"""The perspective relaxation of a layer for a splitting H₁ = R + diag(D), one D for all rows or one for each, by ADMM.

    min_w Σ_rows ½wᵀRw − bᵀw + φ(w),    φ(w) = min {½ Σ D_i w_i²/z_i : z ∈ conv Z}

ADMM splits w of the quadratic from x of φ and penalizes w_i = x_i with ρ_i = D_i + σ. Then R + diag(ρ) = H₁ + σI
whatever D is, so that one inverse serves every splitting and every row, and an iteration is one matrix product and the
proximal step of φ. That step is exact: for v = w + y/ρ the best z is clip(θa_i − D_i/ρ_i, 0, 1) with a_i = |v_i|√D_i
and one θ for each segment such that its room is filled, and x_i = ρ_i v_i z_i/(D_i + ρ_i z_i). At a fixed point,
keeping a weight costs the price λ = 1/(2θ²) of its segment.

The bound (B) holds at any point, and at w, the iterate of the quadratic, it is good long before x has converged. The
residual r = b − Rw = y + ρ(w − x) that it needs comes without a product.

Boyd, Parikh, Chu, Peleato & Eckstein, Distributed Optimization and Statistical Learning via ADMM, 2011 (with
over-relaxation, §3.4.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbs_opt.solvers.bounds.rows_segments import Segments
from cbs_opt.solvers.forms.layer_tensors import Layer

if TYPE_CHECKING:
    import torch

SHIFT = 3.0
"""σ in units of the mean of D."""

MOVED = 1.5
"""A new inverse is formed when the σ that ``SHIFT`` asks for has changed by more than this factor."""

RELAXED = 1.6
"""The factor of over-relaxation."""


@dataclass(frozen=True, eq=False)
class Point:
    """Where ADMM stands, in the units of ``Relaxation``.

    Parameters
    ----------
    x, z : tensor, shape (rows, d)
        The iterate of φ, and its relaxed mask.
    y : tensor, shape (rows, d)
        The multiplier of w = x, in the units of b.
    theta : tensor, shape (segments,)
        θ of each segment; ∞ where there is room for all its weights.
    w, r : tensor, shape (rows, d)
        The iterate of the quadratic, and b − Rw.
    bound : float
        (B) at w, relative to the value at the minimizer, without any account of round-off.
    iterations : int
        Iterations so far.
    """

    x: torch.Tensor
    z: torch.Tensor
    y: torch.Tensor
    theta: torch.Tensor
    w: torch.Tensor
    r: torch.Tensor
    bound: float
    iterations: int


class Relaxation:
    """The relaxation of a layer, which ``solve`` solves for a given splitting.

    The weights of the layer are measured in a further unit, ``unit``, a power of two, so that no square underflows.

    Parameters
    ----------
    layer : Layer
        The layer and its pattern.
    dtype : torch.dtype
        Precision of the iterations. Since they prove nothing, float32 will do where H₁ is not nearly singular.
    """

    def __init__(self, layer: Layer, dtype: torch.dtype) -> None:
        import torch

        self.layer, self.dtype = layer, dtype
        largest = float(layer.target.abs().max())
        self.unit = 2.0 ** float(torch.tensor(largest).double().frexp()[1]) if largest > 0 else 1.0
        target = layer.target / self.unit
        b = target @ layer.U
        self.constant = 0.5 * float((b * target).sum())
        self.b, self.target = b.to(dtype), target.to(dtype)
        self.free = layer.free
        self.segments = Segments(layer, dtype)
        self._all_free = bool(self.free.all())
        self._loose = self.segments.sums(self.free.to(dtype)) <= self.segments.room
        self._tolerance = 1e-6 if dtype == torch.float64 else 1e-4
        self._sigma = 0.0

    def start(self) -> Point:
        """The point to start from, which keeps everything: w = c."""
        import torch

        c = self.target
        theta = torch.ones(self.segments.count, dtype=c.dtype, device=c.device)
        zeros = torch.zeros_like(c)
        return Point(c, torch.ones_like(c), zeros, theta, c, zeros, -torch.inf, 0)

    def solve(self, D: torch.Tensor, at: Point, iterations: int) -> Point:
        """The point after ``iterations`` from ``at`` for the splitting D, shape (d,), or (rows, d)."""
        inverse, sigma = self._inverse_for(D)
        D = D.to(self.dtype).expand_as(self.b)
        rho = D + sigma
        root, shift = D.sqrt(), D / rho
        x, y, z, w, r, theta = at.x, at.y, at.z, at.w, at.r, at.theta
        for _ in range(iterations):
            pull = (rho * x).sub_(y)
            w = (pull + self.b) @ inverse
            r = (rho * w).sub_(pull)
            v = RELAXED * w + (1.0 - RELAXED) * x
            v += y / rho
            z, theta = self._mask(v.abs() * root, shift, theta)
            weight = rho * z
            x = v * weight / (D + weight)
            y = rho * (v - x)
        bound = self._bound(D, w, r, theta)
        return Point(x, z, y, theta, w, r, bound, at.iterations + iterations)

    def prices(self, theta: torch.Tensor) -> torch.Tensor:
        """The price λ at each weight, broadcast to (rows, d); 0 where a segment has room for all its weights."""
        import torch

        price = torch.where(theta.isfinite(), 0.5 / theta**2, 0.0)
        return self.segments.spread(price, self.b)

    def _inverse_for(self, D: torch.Tensor) -> tuple[torch.Tensor, float]:
        """(H₁ + σI)⁻¹ and σ."""
        import torch

        asked = SHIFT * float(D.mean())
        if not asked / MOVED < self._sigma < asked * MOVED:
            U = self.layer.U
            raised = U + asked * torch.eye(len(U), dtype=U.dtype, device=U.device)
            self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(raised)).to(self.dtype)
            self._sigma = asked
        return self._inverse, self._sigma

    def _mask(self, slope: torch.Tensor, shift: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The relaxed mask, clip(θ·slope − shift, 0, 1) on free weights, and θ, ∞ where a segment has room for all."""
        import torch

        segments = self.segments
        if not self._all_free:
            slope = torch.where(self.free, slope, 0.0)
        theta = segments.root(slope, shift, theta, self._loose, self._tolerance)
        z = (slope * segments.spread(theta, slope)).sub_(shift).clamp_(0.0, 1.0)
        loose = theta.isinf()
        if bool(loose.any()):
            z = torch.where(segments.spread(loose, slope), (slope > 0).to(slope.dtype), z)
        if not self._all_free:
            z = torch.where(self.layer.keep, 1.0, z)
        return z, theta

    def _bound(self, D: torch.Tensor, w: torch.Tensor, r: torch.Tensor, theta: torch.Tensor) -> float:
        """(B) at ``w``, relative to the value at the minimizer, without any account of round-off.

        The best mask is not looked for: no mask scores more than Σ(s − λ)⁺ + λ·room, for any λ ≥ 0.
        """
        import torch

        scores = r * r / (2.0 * D)
        prices = self.prices(theta)
        over = (scores - prices).clamp_(min=0.0)
        if not self._all_free:
            over = torch.where(self.layer.keep, scores, torch.where(self.layer.forbid, 0.0, over))
        price = torch.where(theta.isfinite(), 0.5 / theta**2, 0.0)
        best = over.sum(dtype=torch.float64) + (price * self.segments.room).sum(dtype=torch.float64)
        return self.constant - 0.5 * float((w * (self.b - r)).sum(dtype=torch.float64)) - float(best)
