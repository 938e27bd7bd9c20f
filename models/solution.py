"""From a solved model to a ``Solution``: every number recomputed, no claim without a bound."""

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

    Parameters
    ----------
    formulation : Formulation
        The one that built the model, or the block of a larger one.
    model : ConcreteModel or Block
        With the values that a solver left in it.
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
    outcome = Outcome(formulation.extract(model, problem), bound, termination)
    objective = formulation.bounds or Objective.JOINT
    return judge(problem, formulation.name, outcome, objective, seconds=seconds, notes=problem.curvature.notes)
