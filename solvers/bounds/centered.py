"""A dense problem around its unconstrained minimizer, in units where nothing over- or underflows.

With c = H⁻¹b the model is f(w) = f(c) + ½(w − c)ᵀH(w − c), whatever g is. Weights are measured in units x_i = w_i/u_i
and f in units of s, all powers of two, such that the diagonal of the scaled H lies in [1, 4) and the largest |c_i| in
[1, 2). Scaling by powers of two loses no digit, so that a bound on the scaled problem is a bound on the problem.
(Numbers 1e-300 times the largest may vanish; the margins for round-off are far above them.) Where rounding the user's
arrays made H inexact, all this is done to ``problem.below()``, whose H is exact and whose f is nowhere larger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.sums import scaled_below

if TYPE_CHECKING:
    from cbs_opt.solvers.forms.node_state import Room


@dataclass(frozen=True, eq=False)
class CenteredBlock:
    """A dense problem as ½(x − c)ᵀH(x − c) in scaled weights x, with f = base + scale · ½(x − c)ᵀH(x − c).

    Parameters
    ----------
    H : array, shape (n, n)
        The scaled curvature.
    c : array, shape (n,)
        The unconstrained minimizer, scaled.
    base : float
        f(c), a trivial lower bound up to ``base_error``.
    base_error : float
        Round-off of ``base``; 0 where g = 0.
    scale : float
        The unit of f.
    drift : float
        ε ≥ √(½ρᵀH⁻¹ρ) in the scaled units, where ρ = ∇f(c) is the residual of the computed c; 0 where g = 0.
    """

    H: Matrix
    c: Vector
    base: float
    base_error: float
    scale: float
    drift: float

    @cached_property
    def eigenvalues(self) -> Vector:
        """The computed eigenvalues of H, ascending, shape (n,)."""
        return np.asarray(np.linalg.eigvalsh(self.H))

    @property
    def smallest(self) -> float:
        """A number below the smallest eigenvalue of H; 0 where H is so near to singular that no elimination is trusted.

        That is where n·eps·trace(H) ≥ λ_min(H)/20: a value that is computed for a mask then says nothing about the
        mask.
        """
        n = len(self.H)
        smallest = float(self.eigenvalues[0]) - n * EPS * float(self.eigenvalues[-1])
        return smallest if n * EPS * float(np.trace(self.H)) < 0.05 * smallest else 0.0

    @classmethod
    def of(cls, problem: PruningProblem) -> CenteredBlock:
        """Center and scale ``problem.below()`` (its curvature is formed densely)."""
        problem = problem.below()
        H = problem.curvature.dense()
        minimizer = problem.minimizer()
        _, exponents = np.frexp(np.sqrt(H.diagonal()))
        unit = np.ldexp(1.0, -exponents)  # weights in these units have H_ii in [¼, 1)
        c = minimizer / unit
        largest = float(np.abs(c).max())
        size = float(np.ldexp(1.0, int(np.frexp(largest)[1]) - 1)) if largest > 0 else 1.0
        exact = problem.g is None
        scaled = np.ascontiguousarray(H * unit * unit[:, None] * 4.0)
        return cls(
            H=scaled,
            c=c / size,
            base=problem.offset if exact else problem.objective(minimizer),
            # Round-off of the evaluation, and of the residual of the linear system that the minimizer solves.
            base_error=0.0 if exact else max(problem.n, 3) * problem.round_off(minimizer),
            scale=size * size / 4.0,
            drift=0.0 if exact else _drift(problem, minimizer, scaled, 4.0 * unit / size),
        )

    def first_splitting(self) -> Vector:
        """D = 0.9·λ_min·I, which leaves H positive semidefinite with room for round-off; shape (n,)."""
        return np.full(len(self.c), max(0.9 * float(self.eigenvalues[0]), 1e-15))

    def bound(self, value: float) -> float:
        """A bound ``value`` ≥ 0 on the scaled problem in the units of f, rounded down; −inf where nothing is proven.

        With V = ½(x − c)ᵀH(x − c) and |ρᵀ(x − c)| ≤ 2ε√V the model is at least f(c) + V − 2ε√V, and V − 2ε√V grows with
        V from V = ε² on and is never below −ε².
        """
        drift = self.drift * (1.0 + 8.0 * EPS)  # the products below are rounded, too
        left = sum_below(value, -2.0 * drift * math.sqrt(value)) if value >= drift**2 else -(drift**2)
        proven = sum_below(self.base, scaled_below(left, self.scale), -self.base_error)
        return proven if math.isfinite(proven) else -math.inf


def _drift(problem: PruningProblem, minimizer: Vector, H: Matrix, unit: Vector) -> float:
    """ε with ε² = ½‖ρ‖²/λ_min(H), ρ with its own round-off added, in the units of the scaled problem."""
    assert problem.g is not None, "without g the minimizer is w̄ itself"
    step = minimizer - problem.w_bar
    rho = np.abs(problem.curvature.matvec(step) + problem.g)
    eigenvalues = np.linalg.eigvalsh(H)
    smallest = float(eigenvalues[0] - problem.n * EPS * eigenvalues[-1])
    if not smallest > 0:
        return math.inf
    # |H_ij| ≤ √(H_ii H_jj), so that |H| need not be formed.
    root = np.sqrt(problem.curvature.diagonal())
    rho += (problem.n + 2) * EPS * (root * float(root @ np.abs(step)) + np.abs(problem.g))
    return float(np.linalg.norm(rho * unit) / math.sqrt(2.0 * smallest))


def root_state(problem: PruningProblem, block: CenteredBlock) -> tuple[NDArray[np.int8], Vector, Room]:
    """What the pattern decides of each weight (FREE, KEPT or PRUNED), a first splitting D, and the pattern's room."""
    from cbs_opt.solvers.forms.node_state import KEPT, PRUNED, Room

    pattern = problem.Z.labelled
    assert pattern is not None, "checked by the method's spec"
    state = np.zeros(problem.n, dtype=np.int8)
    state[pattern.keep] = KEPT
    state[pattern.forbid] = PRUNED
    return state, block.first_splitting(), Room.of(pattern)
