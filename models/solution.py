"""From a solved model to a ``Solution``: every number recomputed, no claim without a bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.errors import UnsupportedError
from cbs_opt.models.formulation import Formulation
from cbs_opt.problem import PruningProblem
from cbs_opt.registry import Objective
from cbs_opt.result import GAP_TOLERANCE, Solution, SolutionStatus, TerminationCondition, relative_gap
from cbs_opt.update import obs_update

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel


def solution_of(
    formulation: Formulation,
    model: ConcreteModel,
    problem: PruningProblem,
    *,
    bound: float = -math.inf,
    termination: TerminationCondition = TerminationCondition.CONVERGED,
    seconds: float = 0.0,
) -> Solution:
    """The solution that a solver left in ``model``, with objectives recomputed from its mask.

    Parameters
    ----------
    formulation : Formulation
        The one that built the model.
    problem : PruningProblem
        The problem it was built from, in the same units.
    bound : float
        A lower bound on the model's optimum that the solver proved, already lowered by the solver's
        tolerances; −inf for none.
    termination : TerminationCondition
        Why the solver stopped.
    seconds : float
        Its wall time.

    Returns
    -------
    Solution
        'optimal' only where ``bound`` is within 1e-6 of the objective it bounds.

    Raises
    ------
    SolverError
        The model holds no mask that can be used.
    UnsupportedError
        A bound is given for a formulation that proves none (its mask was given).
    BoundViolationError
        The bound exceeds the recomputed objective.
    """
    if formulation.bounds is None and bound != -math.inf:
        raise UnsupportedError(f"{formulation.name}: its mask is given, so it proves no bound; leave the bound out")
    mask = formulation.extract(model, problem)
    weights = obs_update(problem, mask)
    as_trained = np.where(mask, problem.w_bar, 0.0)
    joint = formulation.bounds is not Objective.SELECTION
    judged = weights if joint else as_trained
    gap = relative_gap(problem.objective(judged), bound, problem.round_off(judged))
    proven = termination is TerminationCondition.CONVERGED and gap <= GAP_TOLERANCE
    return Solution(
        name=problem.name,
        method=formulation.name,
        mask=mask,
        weights=weights,
        objective=problem.objective(weights),
        selection_objective=problem.objective(as_trained),
        bound=bound if joint else -math.inf,
        selection_bound=bound,
        termination_condition=termination,
        solution_status=SolutionStatus.OPTIMAL if proven else SolutionStatus.FEASIBLE,
        seconds=seconds,
        round_off=problem.round_off(weights),
        selection_round_off=problem.round_off(as_trained),
        notes=problem.curvature.notes,
    )
