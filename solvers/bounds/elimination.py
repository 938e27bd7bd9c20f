"""What a bound on the free weights of a node proves for the node, once the round-off of the elimination is subtracted.

A node fixes weights as kept or pruned. Its kept weights are eliminated, which leaves a minimizer x of the node and a
curvature H_F of its free weights, both computed in float64. Let r = ∇f(x) on the active (kept or free) weights A, which
would vanish without round-off, e = w − x for any w of the node, and E the change of H_AA that would make the computed
H_F exact. Then

    f(w) = f(x) + rᵀe + V,      V = ½eᵀH_AAe ≥ ½e_FᵀH_Fe_F/(1 + θ),      θ = ‖E‖/λ_min(H),

and |rᵀe| ≤ ‖r‖‖e‖ ≤ 2ε√V with ε = ‖r‖/√(2λ_min(H)). The term is needed because the kept weights, which the bound does
not see, may move far where H is nearly singular. V − 2ε√V grows with V from V = ε² on and is never below −ε².
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector


class Elimination(NamedTuple):
    """A node after its elimination, in the units of the block."""

    value: float  # f(x) from below
    drift: float  # ε
    stretch: float  # 1 + θ, raised by the round-off of a few operations

    @classmethod
    def of(cls, H: Matrix, c: Vector, d: Vector, kept: int, value: float, least: float) -> Elimination:
        """The elimination of ``kept`` weights that took the step ``d`` (n,) from c to x.

        ``value`` is f(x) from below, ``least`` a number below λ_min(H). |r_i| is at most what sums and triangular
        solves of n terms lose, 2(n + 2)·eps·√H_ii·Σ√H_jj|d_j|, and what the rounding of x itself adds.
        """
        if not least > 0.0:
            return cls(value, math.inf, math.inf)
        root = np.sqrt(H.diagonal())
        size = 2.0 * (len(c) + 2) * float(root @ np.abs(d)) + float(root @ np.abs(c + d))
        trace = float(root @ root)
        drift = EPS * size * math.sqrt(trace / (2.0 * least))
        return cls(value, drift, 1.0 + (16.0 + 2.0 * (kept + 1) * trace / least) * EPS)

    def proves(self, bound: Vector) -> Vector:
        """The lower bound on f in the node that follows from ``bound`` ≤ ½e_FᵀH_Fe_F for all its w; elementwise."""
        if self.drift == math.inf:
            return np.full(np.shape(bound), -np.inf)
        root = np.sqrt(np.maximum(bound, 0.0) / self.stretch)
        left = np.where(root < self.drift, -(self.drift**2), root * (root - 2.0 * self.drift))
        return np.asarray(self.value + left)

    def needs(self, value: float) -> float:
        """The bound on ½e_FᵀH_Fe_F that it takes to prove f ≥ ``value`` in the node; inf where nothing is proven."""
        if self.drift == math.inf:
            return math.inf
        left = max(value - self.value, 0.0)
        return self.stretch * (self.drift + math.sqrt(self.drift**2 + left)) ** 2 * (1.0 + 4.0 * EPS)
