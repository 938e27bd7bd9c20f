"""A dense problem around its unconstrained minimizer, in units where nothing over- or underflows.

With c = H⁻¹b the model is f(w) = f(c) + ½(w − c)ᵀH(w − c) whatever g was. Weights are measured in units
x_i = w_i/u_i and f in units of s, all powers of two: the diagonal of the scaled H lies in [1, 4), the
largest |c_i| in [1, 2), and no digit is lost, so a bound on the scaled problem is a bound on the problem. (Numbers
1e-300 times the largest may vanish; the margins for round-off are far above them.) Where the user's arrays were rounded
to form H, all this is done to the problem ``below``, whose H is exact and whose f is nowhere larger.
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
    """min ½(x − c)ᵀH(x − c) over the masks of the problem; f = base + scale · (that).

    Parameters
    ----------
    H : array, shape (n, n)
    c : array, shape (n,)
    base : float
        f(c), a trivial lower bound up to ``base_error``.
    base_error : float
        Round-off of ``base``; 0 where g = 0.
    scale : float
        Unit of f.
    drift : float
        ε ≥ √(½ρᵀH⁻¹ρ) in the scaled units, ρ = ∇f(c) being what the solve for c left; 0 where g = 0.
    """

    H: Matrix
    c: Vector
    base: float
    base_error: float
    scale: float
    drift: float

    @cached_property
    def eigenvalues(self) -> Vector:
        """Those of H, ascending, as they are computed, shape (n,)."""
        return np.asarray(np.linalg.eigvalsh(self.H))

    @property
    def smallest(self) -> float:
        """Below the smallest eigenvalue of H; 0 where H is so near to singular that no elimination can be trusted.

        A value that is computed for a mask then says nothing of the mask: n·eps·trace(H) ≥ λ_min(H)/20.
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
            # Of the evaluation, and of the residual of the linear system that the minimizer solves.
            base_error=0.0 if exact else max(problem.n, 3) * problem.round_off(minimizer),
            scale=size * size / 4.0,
            drift=0.0 if exact else _drift(problem, minimizer, scaled, 4.0 * unit / size),
        )

    def first_splitting(self) -> Vector:
        """D = 0.9·λ_min·I, which leaves H positive semidefinite with room for round-off; shape (n,)."""
        return np.full(len(self.c), max(0.9 * float(self.eigenvalues[0]), 1e-15))

    def bound(self, value: float) -> float:
        """A bound ``value`` ≥ 0 on the scaled problem, in the units of f and from below; −inf where none is left.

        With V = ½(x − c)ᵀH(x − c) and |ρᵀ(x − c)| ≤ 2ε√V the model is at least f(c) + V − 2ε√V, which grows with V from
        V = ε² on and is −ε² at the least.
        """
        drift = self.drift * (1.0 + 8.0 * EPS)  # its products, too, are rounded
        left = sum_below(value, -2.0 * drift * math.sqrt(value)) if value >= drift**2 else -(drift**2)
        proven = sum_below(self.base, scaled_below(left, self.scale), -self.base_error)
        return proven if math.isfinite(proven) else -math.inf


def _drift(problem: PruningProblem, minimizer: Vector, H: Matrix, unit: Vector) -> float:
    """ε² = ½‖ρ‖²/λ_min(H), with ρ and its own round-off in the units of the scaled problem."""
    assert problem.g is not None, "without g the minimizer is w̄ itself"
    step = minimizer - problem.w_bar
    rho = np.abs(problem.curvature.matvec(step) + problem.g)
    eigenvalues = np.linalg.eigvalsh(H)
    smallest = float(eigenvalues[0] - problem.n * EPS * eigenvalues[-1])
    if not smallest > 0:
        return math.inf
    # |H_ij| ≤ √(H_ii H_jj), so that no |H| is formed.
    root = np.sqrt(problem.curvature.diagonal())
    rho += (problem.n + 2) * EPS * (root * float(root @ np.abs(step)) + np.abs(problem.g))
    return float(np.linalg.norm(rho * unit) / math.sqrt(2.0 * smallest))


def root_state(problem: PruningProblem, block: CenteredBlock) -> tuple[NDArray[np.int8], Vector, Room]:
    """What the pattern fixes from the start, a first splitting, and what may be kept."""
    from cbs_opt.solvers.forms.node_state import KEPT, PRUNED, Room

    pattern = problem.Z.labelled
    assert pattern is not None, "checked by the method's spec"
    state = np.zeros(problem.n, dtype=np.int8)
    state[pattern.keep] = KEPT
    state[pattern.forbid] = PRUNED
    return state, block.first_splitting(), Room.of(pattern)
