"""How far a weight of an optimal solution can lie from the unconstrained minimizer.

With c = H⁻¹b the minimizer of f, f(w) = f(c) + ½ (w − c)ᵀH(w − c). Any w no worse than an incumbent of
objective U lies in the ellipsoid ½ (w − c)ᵀH(w − c) ≤ U − f(c), whose extent along axis i is

    |w_i − c_i| ≤ Δ_i = √(2 (U − f(c)) (H⁻¹)_ii).                                            (incumbent box)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigvalsh

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import EPS, Mask, Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.update import obs_update

RELATIVE_MARGIN = 1e-6
"""Relative amount by which the box is widened beyond its round-off: a solver's tolerances must not reach its sides."""


@dataclass(frozen=True, eq=False)
class Box:
    """An interval for each weight: every w with f(w) ≤ U satisfies lower ≤ w ≤ upper, both of shape (n,)."""

    lower: Vector
    upper: Vector

    @property
    def with_zero(self) -> tuple[Vector, Vector]:
        """min(lower, 0) and max(upper, 0): the box enlarged to hold zero, for weights that may be pruned."""
        return np.minimum(self.lower, 0.0), np.maximum(self.upper, 0.0)

    @property
    def excludes_zero(self) -> Mask:
        """Which weights no w with f(w) ≤ U prunes, since zero lies outside their interval; boolean, shape (n,)."""
        return (self.lower > 0) | (self.upper < 0)


def default_incumbent(problem: PruningProblem) -> float:
    """A U that is attained: f after the OBS update on the mask of Z with the largest Σ z_i c_i²H_ii, plus round-off."""
    mask = problem.Z.argmax(problem.minimizer() ** 2 * problem.curvature.diagonal())
    w = obs_update(problem, mask)
    return problem.objective(w) + problem.round_off(w)


def total_loss(problem: PruningProblem) -> float:
    """A U that is attained whatever is asked of the mask: f(0), plus round-off.

    w = 0 is feasible with every mask, so that no further constraint on the mask can make this U unattainable.
    """
    nothing = np.zeros(problem.n)
    return problem.objective(nothing) + problem.round_off(nothing)


def incumbent_box(problem: PruningProblem, incumbent: float | None) -> Box:
    """The incumbent box, widened by what float64 may have got wrong in c, U − f(c) and H⁻¹.

    Parameters
    ----------
    incumbent : float or None
        U, an objective that some feasible w attains; None stands for ``default_incumbent``. The box of a value below
        the optimum may cut off the optimal weights, and even make a model infeasible.

    Raises
    ------
    InputError
        U lies below the unconstrained minimum, so nothing can attain it.
    """
    c = problem.minimizer()
    lowest, uncertain = problem.objective(c), problem.round_off(c)
    U = default_incumbent(problem) if incumbent is None else float(incumbent)
    if math.isnan(U) or lowest - uncertain > U:
        raise InputError(
            f"incumbent: is {U:.9g}, below the unconstrained minimum {lowest:.9g}; give the objective of a feasible w"
        )
    diagonal = problem.curvature.diagonal()
    scale = np.sqrt(diagonal)
    # The relative error of H⁻¹ grows with the condition number of H scaled to unit diagonal.
    spectrum = eigvalsh(problem.curvature.dense() / np.outer(scale, scale))
    relative = RELATIVE_MARGIN + 10 * problem.n * EPS * float(spectrum[-1] / max(spectrum[0], EPS))
    reach = np.sqrt(2 * (max(U - lowest, 0.0) + uncertain) * problem.curvature.inverse_diagonal())
    half_width = (1 + relative) * reach + relative * float(np.abs(c * scale).max()) / scale
    return Box(c - half_width, c + half_width)
