"""What may be called optimal: bound, objective and round-off by hand on f = ½‖w − (3, 1, 3, 1)‖², two pruned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cbs_opt import PruningProblem
from cbs_opt.errors import BoundViolationError
from cbs_opt.kernel.judge import evaluate, judge
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.result import Outcome, Solution, SolutionStatus, TerminationCondition
from cbs_opt.kernel.update_error import update_excess

BEST = np.array([True, False, True, False])
OPTIMAL, FEASIBLE = SolutionStatus.OPTIMAL, SolutionStatus.FEASIBLE


def problem(unit: float = 1.0) -> PruningProblem:
    """The best mask loses unit²."""
    return PruningProblem(unit * np.array([3.0, 1.0, 3.0, 1.0]), np.eye(4)).pruning(2)


def judged(bound: float, objective: Objective = Objective.JOINT, unit: float = 1.0, **options: Any) -> Solution:
    return judge(problem(unit), "by hand", Outcome(BEST, bound), objective, **options)


def test_a_bound_that_is_reached_is_a_proof_and_one_that_is_not_is_none() -> None:
    assert judged(1.0).solution_status is OPTIMAL
    assert judged(1.0 - 1e-7).solution_status is OPTIMAL
    assert judged(1.0 - 1e-5).solution_status is FEASIBLE
    assert judged(-math.inf).solution_status is FEASIBLE
    assert judged(0.5, tolerance=0.5).solution_status is OPTIMAL
    assert judged(0.5, tolerance=0.499).solution_status is FEASIBLE


def test_what_was_stopped_is_not_optimal() -> None:
    stopped = Outcome(BEST, 1.0, TerminationCondition.TIME_LIMIT, nodes=7)
    solution = judge(problem(), "by hand", stopped, Objective.JOINT, notes=("short",), options={"a": 1})
    assert solution.solution_status is FEASIBLE
    assert (solution.termination_condition, solution.nodes) == (TerminationCondition.TIME_LIMIT, 7)
    assert (solution.notes, solution.options, solution.seconds) == (("short",), {"a": 1}, 0.0)
    assert (judged(1.0).notes, judged(1.0).options) == ((), {})


def test_a_bound_on_the_selection_is_none_on_the_joint_problem() -> None:
    solution = judged(1.0 - 1e-7, Objective.SELECTION)
    assert (solution.solution_status, solution.bound, solution.selection_bound) == (OPTIMAL, -math.inf, 1.0 - 1e-7)
    joint = judged(1.0)
    assert (joint.bound, joint.selection_bound) == (1.0, 1.0)


def test_the_selection_is_judged_by_the_weights_as_trained() -> None:
    """H = [[2, 1], [1, 2]], w̄ = (2, 1): pruning 1 alone costs 1, re-tuned 1 − ½·1²/2 = 0.75."""
    coupled = PruningProblem([2.0, 1.0], np.array([[2.0, 1.0], [1.0, 2.0]])).pruning(1)
    mask = np.array([True, False])
    solution = judge(coupled, "by hand", Outcome(mask, 1.0), Objective.SELECTION)
    assert (solution.selection_objective, solution.solution_status) == (1.0, OPTIMAL)
    assert solution.objective == pytest.approx(0.75, rel=1e-15)
    assert judge(coupled, "by hand", Outcome(mask, 0.75), Objective.SELECTION).solution_status is FEASIBLE
    with pytest.raises(BoundViolationError, match="lies above a feasible objective"):
        judge(coupled, "by hand", Outcome(mask, 1.0), Objective.JOINT)


def test_nothing_is_optimal_to_more_digits_than_the_objective_is_known() -> None:
    """A bound one bit above the objective leaves no gap; whether that is a proof depends on the round-off."""
    found = evaluate(problem(), BEST)
    doubt = found.updated.round_off + update_excess(problem(), BEST, found.weights)
    assert 0.0 < doubt < 1e-12
    above = math.nextafter(1.0, 2.0)
    assert judged(above, tolerance=doubt).solution_status is OPTIMAL
    assert judged(above, tolerance=0.9 * doubt).solution_status is FEASIBLE
    assert judged(1.0, tolerance=0.0).solution_status is OPTIMAL
    assert judged(1.0).round_off == doubt


def test_the_tolerance_is_relative() -> None:
    """At a loss of 1e12 the round-off is some 1e-3, at one of 1e-12 some 1e-27."""
    for unit in (1e6, 1e-6):
        value = judged(-math.inf, unit=unit).objective
        assert judged(math.nextafter(value, 0.0), unit=unit, tolerance=1e-12).solution_status is OPTIMAL


def test_a_bound_that_is_no_number_is_refused() -> None:
    with pytest.raises(BoundViolationError, match="method by hand: its bound is not a number"):
        judged(math.nan)
