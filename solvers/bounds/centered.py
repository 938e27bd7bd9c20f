"""A dense problem around its unconstrained minimizer, in units where nothing over- or underflows.

With c = H⁻¹b the model is f(w) = f(c) + ½(w − c)ᵀH(w − c) whatever g was. Weights are measured in units
x_i = w_i/u_i and f in units of s, all powers of two: the diagonal of the scaled H lies in [½, 2], the
largest |c_i| in [1, 2), and no digit is lost, so a bound on the scaled problem is a bound on the problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cbs_opt.problem import PruningProblem
from cbs_opt.validate import Matrix, Vector


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
    """

    H: Matrix
    c: Vector
    base: float
    base_error: float
    scale: float

    @classmethod
    def of(cls, problem: PruningProblem) -> CenteredBlock:
        """Center and scale ``problem`` (its curvature is formed densely)."""
        H = problem.curvature.dense()
        minimizer = problem.minimizer()
        _, exponents = np.frexp(np.sqrt(H.diagonal()))
        unit = np.ldexp(1.0, -exponents)  # weights in these units have H_ii in [¼, 1)
        c = minimizer / unit
        largest = float(np.abs(c).max())
        size = float(np.ldexp(1.0, int(np.frexp(largest)[1]) - 1)) if largest > 0 else 1.0
        exact = problem.g is None
        return cls(
            H=np.ascontiguousarray(H * unit * unit[:, None] * 4.0),
            c=c / size,
            base=problem.offset if exact else problem.objective(minimizer),
            # Of the evaluation, and of the residual of the linear system that the minimizer solves.
            base_error=0.0 if exact else problem.n * problem.round_off(minimizer),
            scale=size * size / 4.0,
        )

    def bound(self, value: float) -> float:
        """A bound ``value`` ≥ 0 on the scaled problem, in the units of f and from below."""
        return self.base + self.scale * value - self.base_error
