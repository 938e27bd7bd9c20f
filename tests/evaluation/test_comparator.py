"""The comparator judges: one evaluation, the best bound of all, and no number from the judged."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import cbs_opt.evaluation.catalogue as catalogue_module
from cbs_opt.errors import BoundViolationError, InputError, PatternError, SolverError, TooLargeError
from cbs_opt.evaluation import comparator
from cbs_opt.evaluation.comparator import compare, trivial_bound
from cbs_opt.evaluation.lower_bound import LowerBound
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome, TerminationCondition
from cbs_opt.kernel.update import obs_update


def best_joint(problem: PruningProblem) -> tuple[float, Mask]:
    masks = [z for z in np.ndindex(*(2,) * problem.n) if problem.Z.contains(np.array(z, dtype=bool))]
    values = [problem.objective(obs_update(problem, np.array(z, dtype=bool))) for z in masks]
    return min(values), np.array(masks[int(np.argmin(values))], dtype=bool)


def magnitude(problem: PruningProblem) -> Outcome:
    return Outcome(problem.Z.argmax(problem.w_bar**2))


def oracle(problem: PruningProblem, *, gap: float = 1e-6) -> Outcome:
    value, mask = best_joint(problem)
    return Outcome(mask, bound=value, nodes=9)


def bound_only(problem: PruningProblem, *, seed: int = 0, time_limit: float = 60.0) -> Outcome:
    value, _ = best_joint(problem)
    mask = np.zeros(problem.n, dtype=bool)
    return Outcome(mask, bound=0.5 * value, termination=TerminationCondition.TIME_LIMIT, notes=(f"seed {seed}",))


def liar(problem: PruningProblem) -> Outcome:
    value, _ = best_joint(problem)
    return Outcome(np.zeros(problem.n, dtype=bool), bound=1.001 * value)


def selector(problem: PruningProblem) -> Outcome:
    mask = problem.Z.argmax(problem.w_bar**2)
    return Outcome(mask, bound=problem.objective(np.where(mask, problem.w_bar, 0.0)))


def outside(problem: PruningProblem) -> Outcome:
    return Outcome(np.ones(problem.n, dtype=bool))


def bad(problem: PruningProblem) -> Outcome:
    raise SolverError("bad: gave up")


def spec(name: str, run: Any, objective: Objective = Objective.JOINT, **changes: Any) -> MethodSpec:
    return MethodSpec(name, run=run, summary="", exact=False, objective=objective, reference="", **changes)


@pytest.fixture(autouse=True)
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    table = [
        spec("magnitude", magnitude),
        spec("oracle", oracle, patterns=(Pattern,)),
        spec("bound-only", bound_only),
        spec("selector", selector, Objective.SELECTION),
        spec("tiny", magnitude, max_n=2),
        spec("enumeration", oracle),
    ]
    extra = [spec("liar", liar), spec("outside", outside)]
    monkeypatch.setattr(catalogue_module, "_EXTRA", {})
    monkeypatch.setattr(catalogue_module, "_built_in", lambda: {method.name: method for method in [*table, *extra]})


@pytest.fixture
def problem() -> PruningProblem:
    A = np.random.default_rng(3).standard_normal((6, 5))
    w_bar = np.random.default_rng(4).standard_normal(5)
    return PruningProblem(w_bar, A.T @ A + 0.1 * np.eye(5), name="row 3").pruning(3)


def test_every_number_is_recomputed_and_the_best_bound_serves_all(problem: PruningProblem) -> None:
    comparison = compare(problem, ["magnitude", "bound-only", "oracle"])
    best, _ = best_joint(problem)
    assert comparison.bound == best
    for row in comparison.rows:
        mask = comparison.solutions[row.method].mask
        assert row.objective == problem.objective(obs_update(problem, mask))
        assert row.selection_objective == problem.objective(np.where(mask, problem.w_bar, 0.0))
        assert row.bound == best
        assert row.gap == pytest.approx((row.objective - best) / row.objective, abs=1e-9)
        assert row.gap >= 0
        assert 0 <= row.recovered <= 1
    assert comparison["oracle"].gap == 0.0
    assert [row.proven for row in comparison.rows] == [False, False, True]
    assert comparison["bound-only"].termination_condition == "maxTimeLimit"
    with pytest.raises(KeyError):
        comparison["nobody"]


def test_a_lying_bound_raises(problem: PruningProblem) -> None:
    with pytest.raises(BoundViolationError, match="bug in the bound"):
        compare(problem, ["liar", "oracle"])


def test_a_bound_on_the_selection_is_none_on_the_joint_problem(problem: PruningProblem) -> None:
    comparison = compare(problem, ["selector"])
    optimum, _ = best_joint(problem)
    assert comparison["selector"].proven
    assert comparison.solutions["selector"].bound == -math.inf
    # Nobody bounded the joint problem, so the comparator did, without branching.
    assert 0.0 < comparison.bound <= optimum


def test_the_bound_that_no_method_proves_has_the_same_time_and_is_announced(
    problem: PruningProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float | None] = []
    seen: list[str] = []

    def bound(problem: PruningProblem, time_limit: float | None = None) -> LowerBound:
        limits.append(time_limit)
        return LowerBound(1e-6, "tree", 0.0, 1)

    monkeypatch.setattr(comparator, "lower_bound", bound)
    assert compare(problem, ["magnitude"], time_limit=3.0, on_row=seen.append).bound == 1e-6
    compare(problem, ["selector"])
    compare(problem, ["oracle"], time_limit=3.0)
    assert limits == [3.0, None]
    assert seen == ["magnitude", "lower_bound"]


def test_a_method_that_fails_is_skipped_unless_it_was_named(
    problem: PruningProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = {"oracle": spec("oracle", oracle), "bad": spec("bad", bad)}
    monkeypatch.setattr(catalogue_module, "_built_in", lambda: specs)
    comparison = compare(problem)
    assert [row.method for row in comparison.rows] == ["oracle"]
    assert comparison.skipped["bad"] == "failed: bad: gave up"
    with pytest.raises(SolverError, match="gave up"):
        compare(problem, ["oracle", "bad"])


def test_a_mask_outside_the_pattern_raises(problem: PruningProblem) -> None:
    with pytest.raises(SolverError, match="outside the pattern"):
        compare(problem, ["outside"])
    with pytest.raises(PatternError, match="mask mine: keeps 5 weights and is outside the pattern"):
        compare(problem, ["magnitude"], masks={"mine": np.ones(5, dtype=bool)})


def test_masks_from_elsewhere_stand_in_the_same_table(problem: PruningProblem) -> None:
    mask = np.array([1, 0, 0, 0, 0])
    comparison = compare(problem, ["oracle"], masks={"mine": mask})
    row = comparison["mine"]
    assert row.pruned == 4
    assert row.gap > 0
    assert math.isnan(row.seconds)
    assert row.to_dict()["seconds"] is None
    with pytest.raises(InputError, match="mask mine: has shape"):
        compare(problem, ["oracle"], masks={"mine": np.ones(4)})


def test_one_method_by_its_name_and_a_mask_of_a_solution(problem: PruningProblem) -> None:
    alone = compare(problem, "magnitude")
    assert [row.method for row in alone.rows] == ["magnitude"]
    table = compare(problem, "oracle", masks={"mine": alone.solutions["magnitude"]})
    assert table["mine"].objective == alone["magnitude"].objective
    with pytest.raises(InputError, match="problem: is the file name"):
        compare("block.npz")  # type: ignore[arg-type]


def test_left_out_methods_say_why_and_named_ones_raise(problem: PruningProblem) -> None:
    seen: list[str] = []
    monitored = problem.pruning(5)
    with pytest.raises(BoundViolationError):
        compare(monitored)  # the liar is among all methods
    with pytest.raises(TooLargeError, match="method tiny: takes at most 2 weights, but row 3 has 5"):
        compare(problem, ["magnitude", "tiny"])
    compare(problem, ["magnitude", "oracle", "magnitude"], on_row=seen.append)
    assert seen == ["magnitude", "oracle"]


def test_a_method_that_says_why_is_left_out_unless_named(
    problem: PruningProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        catalogue_module,
        "_built_in",
        lambda: {
            "magnitude": spec("magnitude", magnitude),
            "tiny": spec("tiny", magnitude, max_n=2),
            "sage": spec("sage", oracle, left_out_because="an oracle"),
        },
    )
    comparison = compare(problem)
    assert [row.method for row in comparison.rows] == ["magnitude"]
    assert set(comparison.skipped) == {"tiny", "sage"}
    assert comparison.skipped["sage"] == "an oracle; name it to run it"
    assert "at most 2 weights" in comparison.skipped["tiny"]
    assert compare(problem, ["sage"])["sage"].gap == 0


def test_options_go_to_those_who_have_them_and_unknown_ones_raise(problem: PruningProblem) -> None:
    comparison = compare(problem, ["magnitude", "bound-only"], seed=7, time_limit=1.0)
    assert comparison["bound-only"].notes == ("seed 7",)
    assert comparison.solutions["bound-only"].options == {"seed": 7, "time_limit": 1.0}
    assert comparison.solutions["magnitude"].options == {}
    with pytest.raises(InputError, match="tim_limit: no method has this option"):
        compare(problem, ["magnitude"], tim_limit=1.0)


def test_the_comparison_is_plain_data_with_its_environment(problem: PruningProblem) -> None:
    data = json.loads(json.dumps(compare(problem, ["oracle", "selector"]).to_dict(), allow_nan=False))
    assert data["problem"] == "row 3"
    assert data["pattern"] == "prune at least 3 of 5"
    assert {"cbs-opt", "numpy", "torch", "python", "threads", "device"} <= set(data["environment"])
    assert [row["method"] for row in data["rows"]] == ["oracle", "selector"]


def test_with_a_first_order_term_the_bound_lies_between_the_free_minimum_and_the_optimum(
    problem: PruningProblem,
) -> None:
    tilted = PruningProblem(problem.w_bar, problem.curvature, g=np.ones(5), pattern=problem.pattern)
    comparison = compare(tilted, ["magnitude"])
    free = tilted.objective(tilted.minimizer())
    assert trivial_bound(tilted) == pytest.approx(free, rel=1e-9)
    assert free < comparison.bound <= best_joint(tilted)[0]
    assert comparison["magnitude"].gap >= 0
