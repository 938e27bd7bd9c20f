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
"""What the box is widened by beyond its round-off, so that a solver's tolerances do not touch its sides."""


@dataclass(frozen=True, eq=False)
class Box:
    """lower ≤ w ≤ upper, each of shape (n,), for every w with f(w) ≤ U."""

    lower: Vector
    upper: Vector

    @property
    def with_zero(self) -> tuple[Vector, Vector]:
        """min(lower, 0) and max(upper, 0): what is left of the box when weights may be pruned."""
        return np.minimum(self.lower, 0.0), np.maximum(self.upper, 0.0)

    @property
    def excludes_zero(self) -> Mask:
        """Weights that no solution of objective ≤ U prunes, shape (n,)."""
        return (self.lower > 0) | (self.upper < 0)


def default_incumbent(problem: PruningProblem) -> float:
    """U of the mask that keeps the largest c_i²H_ii, after the OBS update."""
    mask = problem.Z.argmax(problem.minimizer() ** 2 * problem.curvature.diagonal())
    w = obs_update(problem, mask)
    return problem.objective(w) + problem.round_off(w)


def total_loss(problem: PruningProblem) -> float:
    """U of pruning every weight: attained whatever is asked of the mask, so that it suits any further constraint."""
    nothing = np.zeros(problem.n)
    return problem.objective(nothing) + problem.round_off(nothing)


def incumbent_box(problem: PruningProblem, incumbent: float | None) -> Box:
    """The incumbent box, widened by what float64 may have got wrong in c, U − f(c) and H⁻¹.

    Parameters
    ----------
    incumbent : float or None
        U, an objective some feasible w attains; None takes ``default_incumbent``. A value below the
        optimum cuts every solution off: the model is then infeasible.

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
