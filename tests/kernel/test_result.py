"""Gaps: one place, never negative, never a number where nothing is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbs_opt import Cardinality, PruningProblem
from cbs_opt.errors import BoundViolationError
from cbs_opt.kernel.judge import judge
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.result import (
    GAP_TOLERANCE,
    Outcome,
    Solution,
    SolutionStatus,
    TerminationCondition,
    finite_or_none,
    relative_gap,
)


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_a_bound_below_gives_a_gap_of_zero_or_more(objective: float, missing: float) -> None:
    gap = relative_gap(objective, objective - missing)
    assert gap >= 0
    if objective != 0 and missing > 0 and objective - missing != objective:
        assert gap == pytest.approx(missing / abs(objective), rel=1e-3, abs=1e-6)


def test_no_bound_is_unknown_and_a_lying_bound_raises() -> None:
    assert relative_gap(1.0, -math.inf) == math.inf
    assert relative_gap(0.0, -1.0) == math.inf
    assert relative_gap(0.0, 0.0) == 0.0
    with pytest.raises(BoundViolationError, match=r"bound of 1\.1 lies above a feasible objective of 1; .*report"):
        relative_gap(1.0, 1.1)


def test_an_infinite_bound_is_a_lie() -> None:
    with pytest.raises(BoundViolationError):
        relative_gap(1.0, math.inf)


def test_what_a_method_does_not_say_claims_nothing() -> None:
    outcome = Outcome(np.array([True]))
    assert (outcome.bound, outcome.nodes, outcome.termination) == (-math.inf, 0, TerminationCondition.CONVERGED)
    words = {"mask": outcome.mask, "weights": np.ones(1), "objective": 1.0, "selection_objective": 1.0}
    ends = {"termination_condition": TerminationCondition.CONVERGED, "solution_status": SolutionStatus.FEASIBLE}
    told = Solution("b", "m", **words, bound=0.0, selection_bound=0.0, **ends, seconds=0.0)  # type: ignore[arg-type]
    assert (told.round_off, told.selection_round_off, told.nodes) == (0.0, 0.0, 0)
    assert 0 < GAP_TOLERANCE <= 1e-6


def test_a_solver_that_leaves_no_answer_has_no_condition() -> None:
    assert TerminationCondition.named("maxTimeLimit") is TerminationCondition.TIME_LIMIT
    assert TerminationCondition.named("infeasible") is None


def test_round_off_is_granted_and_no_more() -> None:
    assert relative_gap(1.0, 1.0 + 1e-10) == 0.0
    assert relative_gap(1e-12, 1.5e-12, 1e-12) == 0.0
    assert relative_gap(0.0, -1e-12, 1e-12) == 0.0
    assert relative_gap(0.0, -2e-12, 1e-12) == math.inf
    with pytest.raises(BoundViolationError):
        relative_gap(1e-12, 3e-12, 1e-12)


def test_a_solution_is_plain_data_without_nan() -> None:
    solution = Solution(
        name="b",
        method="m",
        mask=np.array([True, False]),
        weights=np.array([1.0, 0.0]),
        objective=2.0,
        selection_objective=3.0,
        bound=-math.inf,
        selection_bound=1.5,
        termination_condition=TerminationCondition.TIME_LIMIT,
        solution_status=SolutionStatus.FEASIBLE,
        seconds=0.1,
    )
    data = json.loads(json.dumps(solution.to_dict(), allow_nan=False))
    assert data["bound"] is data["gap"] is None
    assert (data["n"], data["pruned"], data["kept"]) == (2, 1, [0])
    assert data["selection_gap"] == 0.5
    assert data["termination_condition"] == "maxTimeLimit"
    assert data["solution_status"] == "feasible"
    assert solution.gap == math.inf


def test_numbers_json_does_not_have() -> None:
    assert [finite_or_none(x) for x in (1.0, math.nan, math.inf)] == [1.0, None, None]


def test_a_method_may_hand_back_numpy_numbers_but_no_nan() -> None:
    problem = PruningProblem(np.array([1.0, 2.0]), np.eye(2), pattern=Cardinality(2, 1))
    mask = np.array([False, True])
    told = judge(problem, "m", Outcome(mask, np.float64(0.25)), Objective.JOINT, seconds=0.0)
    assert type(told.bound) is float
    assert type(told.gap) is float
    assert told.gap == pytest.approx(0.5)
    with pytest.raises(BoundViolationError, match="not a number"):
        judge(problem, "m", Outcome(mask, math.nan), Objective.JOINT, seconds=0.0)
