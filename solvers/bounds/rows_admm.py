"""The perspective relaxation of a layer for one splitting H₁ = R + diag(D), by ADMM.

    min_w Σ_rows ½wᵀRw − bᵀw + φ(w),    φ(w) = min {½ Σ D_i w_i²/z_i : z ∈ conv Z}

The rows meet in the pattern only. With one Cholesky inverse of R + ρI (the rows share R) an iteration is one matrix
product and the proximal step of φ, which is exact: for v and its multiplier the best z is clip(θa_i − D_i/ρ, 0, 1) with
a_i = |v_i|√D_i, one θ per segment such that the quota is met, and w_i = ρv_i z_i/(D_i + ρz_i).

The smooth iterate w gives the bound (B), which holds at any point, long before the other converges.

Boyd, Parikh, Chu, Peleato & Eckstein, Distributed Optimization and Statistical Learning via ADMM, 2011.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbs_opt.solvers.forms.layer_tensors import Layer

if TYPE_CHECKING:
    import torch

PENALTY = 4.0
"""ρ in units of the mean of D."""

CHECK = 10
"""Iterations between two evaluations of the bound."""

ROOT_STEPS = 60
"""Most Newton steps for θ."""


@dataclass(frozen=True, eq=False)
class Point:
    """Where ADMM stands.

    Parameters
    ----------
    x, z : tensor, shape (rows, d)
        The point of the relaxation and its relaxed mask.
    y : tensor, shape (rows, d)
        The multiplier (of w = x), in the units of b.
    theta : tensor, shape (segments,)
    w : tensor, shape (rows, d)
        The point at which (B) is ``bound``.
    bound, primal : float
        The bound, not certified, and the value of the relaxation at (x, z); around the minimizer.
    iterations : int
    """

    x: torch.Tensor
    z: torch.Tensor
    y: torch.Tensor
    theta: torch.Tensor
    w: torch.Tensor
    bound: float
    primal: float
    iterations: int


class Relaxation:
    """The relaxation of a layer; the splitting is an argument of its solves."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.b = layer.target @ layer.U
        self.constant = 0.5 * float((self.b * layer.target).sum())
        segment, kept = layer.labels.flatten(), layer.keep.flatten().long()
        self.room = layer.room.index_add(0, segment, -kept).double()
        self.free = layer.free

    def start(self) -> Point:
        """Everything kept: w = c."""
        import torch

        c = self.layer.target
        theta = torch.ones(len(self.room), dtype=c.dtype, device=c.device)
        return Point(c, torch.ones_like(c), torch.zeros_like(c), theta, c, -torch.inf, torch.inf, 0)

    def solve(self, D: torch.Tensor, at: Point, most: int, tolerance: float) -> Point:
        """At most ``most`` iterations from ``at``, or until bound and primal value are within ``tolerance``."""
        import torch

        R = self.layer.U - torch.diag(D)
        rho = PENALTY * float(D.mean())
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(R + torch.diag(torch.full_like(D, rho))))
        x, u, theta = at.x, at.y / rho, at.theta
        best, best_w, primal = -torch.inf, at.w, torch.inf
        iterations = 0
        while iterations < most:
            w = (self.b + rho * (x - u)) @ inverse
            x, z, theta = self.proximal(w + u, D, rho, theta)
            u = u + w - x
            iterations += 1
            if iterations % CHECK and iterations < most:
                continue
            bound = self.bound(R, D, w)
            if bound > best:
                best, best_w = bound, w
            primal = min(primal, self.primal(R, D, x, z))
            if primal - best <= tolerance * abs(best):
                break
        return Point(x, z, rho * u, theta, best_w, best, primal, at.iterations + iterations)

    def proximal(
        self, v: torch.Tensor, D: torch.Tensor, rho: float, theta: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """argmin φ(w) + ½ρ‖w − v‖², its mask, and θ; the given ``theta`` is where the search for it starts."""
        import torch

        layer = self.layer
        slope = torch.where(self.free, v.abs() * D.sqrt(), 0.0)
        theta, loose = self._theta(slope, D / rho, theta)
        z = (slope * theta[layer.labels] - D / rho).clamp(0.0, 1.0)
        z = torch.where(loose[layer.labels], (slope > 0).double(), z)
        z = torch.where(layer.keep, 1.0, z)
        return rho * v * z / (D + rho * z), z, theta

    def _theta(
        self, slope: torch.Tensor, shift: torch.Tensor, theta: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """θ with Σ clip(θ·slope − shift, 0, 1) = room per segment; and which segments have room for all."""
        import torch

        labels, segments = self.layer.labels, len(self.room)

        def per_segment(values: torch.Tensor) -> torch.Tensor:
            if segments == 1:
                return values.sum()[None]
            return values.new_zeros(segments).index_add_(0, labels.flatten(), values.flatten())

        loose = per_segment((slope > 0).double()) <= self.room
        low, high = torch.zeros_like(theta), torch.full_like(theta, torch.inf)
        for _ in range(ROOT_STEPS):
            inner = slope * theta[labels] - shift
            excess = per_segment(inner.clamp(0.0, 1.0)) - self.room
            if bool((loose | (excess.abs() <= 1e-9 * (1.0 + self.room))).all()):
                break
            high = torch.where(excess > 0, torch.minimum(high, theta), high)
            low = torch.where(excess > 0, low, torch.maximum(low, theta))
            rate = per_segment(torch.where((inner > 0) & (inner < 1), slope, 0.0))
            newton = theta - excess / rate
            middle = torch.where(high.isfinite(), 0.5 * (low + high), 2.0 * theta)
            theta = torch.where((newton > low) & (newton < high), newton, middle)
        return theta, loose

    def bound(self, R: torch.Tensor, D: torch.Tensor, w: torch.Tensor) -> float:
        """(B) at ``w``, around the minimizer; without its round-off."""
        image = w @ R
        scores = (self.b - image) ** 2 / (2.0 * D)
        best = scores[self.layer.top(scores)].sum()
        return self.constant - 0.5 * float((w * image).sum()) - float(best)

    def primal(self, R: torch.Tensor, D: torch.Tensor, x: torch.Tensor, z: torch.Tensor) -> float:
        """The value of the relaxation at (x, z)."""
        import torch

        spread = torch.where(z > 0, D * x * x / z.clamp(min=1e-300), 0.0)
        return self.constant + float((0.5 * (x * (x @ R) + spread) - self.b * x).sum())
