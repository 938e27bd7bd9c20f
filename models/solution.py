"""From a solved model to a ``Solution``: every number is recomputed, and nothing is called optimal without a bound."""

from __future__ import annotations

import math
from typing import Any

from cbs_opt.errors import UnsupportedError
from cbs_opt.kernel.judge import judge
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome, Solution, TerminationCondition
from cbs_opt.models.formulation import Formulation


def solution_of(
    formulation: Formulation,
    model: Any,
    problem: PruningProblem,
    *,
    bound: float = -math.inf,
    termination: TerminationCondition = TerminationCondition.CONVERGED,
    seconds: float = 0.0,
) -> Solution:
    """The solution that a solver left in ``model``, with objectives recomputed from its mask.

    Use it after you have solved a formulation with a solver of your own.

    Parameters
    ----------
    formulation : Formulation
        The formulation that built the model, or that built the block of a larger one.
    model : ConcreteModel or Block
        The model or block, with the values that a solver left in it.
    problem : PruningProblem
        The problem that the model was built from, in the same units.
    bound : float
        A lower bound on the model's optimum that the solver proved, already lowered by the solver's
        tolerances; −inf for none.
    termination : TerminationCondition
        Why the solver stopped.
    seconds : float
        Wall time of the solver.

    Returns
    -------
    Solution
        Its status is 'optimal' only where ``bound`` is within a relative 1e-6 of the objective it bounds.

    Raises
    ------
    SolverError
        The model holds no mask that can be used.
    UnsupportedError
        A bound is given for a formulation that proves none, since its mask was given.
    BoundViolationError
        The bound exceeds the recomputed objective.
    """
    if formulation.bounds is None and bound != -math.inf:
        raise UnsupportedError(f"{formulation.name}: its mask is given, so it proves no bound; leave the bound out")
    outcome = Outcome(formulation.extract(model, problem), bound, termination)
    objective = formulation.bounds or Objective.JOINT
    return judge(problem, formulation.name, outcome, objective, seconds=seconds, notes=problem.curvature.notes)
