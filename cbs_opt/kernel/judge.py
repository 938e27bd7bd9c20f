"""From a mask and a bound to a ``Solution``: the only place where objectives and statuses are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cbs_opt.errors import BoundViolationError
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import (
    GAP_TOLERANCE,
    Outcome,
    Solution,
    SolutionStatus,
    TerminationCondition,
    relative_gap,
)
from cbs_opt.kernel.update import obs_update
from cbs_opt.kernel.update_error import update_round_off


def judge(
    problem: PruningProblem,
    method: str,
    outcome: Outcome,
    objective: Objective,
    *,
    seconds: float = 0.0,
    tolerance: float = GAP_TOLERANCE,
    notes: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> Solution:
    """Update the weights on the outcome's mask, evaluate f in float64, derive the status.

    Parameters
    ----------
    objective : Objective
        The problem that ``outcome.bound`` bounds.
    tolerance : float
        Relative gap up to which an answer is called optimal.

    Raises
    ------
    BoundViolationError
        The bound exceeds the objective it bounds, or is NaN.
    """
    bound = float(outcome.bound)
    if math.isnan(bound):
        raise BoundViolationError(f"method {method}: its bound is not a number; please report the block")
    weights = obs_update(problem, outcome.mask)
    as_trained = np.where(outcome.mask, problem.w_bar, 0.0)
    joint = objective is Objective.JOINT
    judged = weights if joint else as_trained
    # Weights as trained are exact; updated ones may lie above the best on their support, and their round-off says so.
    exact, updated = problem.round_off(as_trained), update_round_off(problem, outcome.mask, weights)
    value, round_off = problem.objective(judged), updated if joint else exact
    gap = relative_gap(value, bound, round_off)
    # An objective that is itself not known to the tolerance cannot be proven optimal to it.
    known = round_off <= tolerance * abs(value) or value == bound
    proven = outcome.termination is TerminationCondition.CONVERGED and gap <= tolerance and known
    return Solution(
        name=problem.name,
        method=method,
        mask=outcome.mask,
        weights=weights,
        objective=problem.objective(weights),
        selection_objective=problem.objective(as_trained),
        bound=bound if joint else -math.inf,
        # A mask with its weights as trained is feasible for the joint problem, so its bound serves both.
        selection_bound=bound,
        termination_condition=outcome.termination,
        solution_status=SolutionStatus.OPTIMAL if proven else SolutionStatus.FEASIBLE,
        seconds=seconds,
        round_off=updated,
        selection_round_off=exact,
        nodes=outcome.nodes,
        notes=notes,
        options=options or {},
    )
