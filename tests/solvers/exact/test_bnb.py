"""Branch and bound against enumeration, stored optima, limits and interrupts."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cbs_opt
import cbs_opt.errors
from cbs_opt.kernel.result import SolutionStatus, TerminationCondition
from cbs_opt.solvers.exact import bnb_search, tree
from cbs_opt.testing.instances import best_by_enumeration, gram, random_problem
from cbs_opt.testing.method_laws import order_does_not_matter, units_do_not_matter

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_equals_enumeration_and_never_claims_more(seed: int) -> None:
    problem = random_problem(seed)
    if problem is None:
        return
    optimum, error = best_by_enumeration(problem)
    solution = cbs_opt.solve(problem, "bnb")
    assert solution.bound <= optimum + error + 1e-12 * abs(optimum)
    assert solution.objective <= optimum * (1 + math.copysign(2e-6, optimum)) + error + solution.round_off
    # Where f itself is not known to the tolerance, the answer is honestly called feasible.
    if problem.g is None and solution.round_off <= 1e-9 * solution.objective:
        assert solution.solution_status is SolutionStatus.OPTIMAL


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, n=st.integers(13, 14))
def test_equals_enumeration_at_fourteen_weights(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    problem = gram(n, int(rng.integers(3, 40)), 10.0 ** rng.uniform(-6, 0), seed).pruning(int(rng.integers(1, n)))
    optimum, error = best_by_enumeration(problem)
    solution = cbs_opt.solve(problem, "bnb")
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.bound <= optimum + error
    assert solution.objective <= optimum * (1 + 2e-6) + error


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, h=st.sampled_from([1e-10, 1e-3, 1e10]), w=st.sampled_from([1e-6, 7.0, 1e6]))
def test_units_do_not_matter(seed: int, h: float, w: float) -> None:
    units_do_not_matter(gram(16, 12, 1e-3, seed).pruning(11), "bnb", h, w)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_order_of_the_weights_does_not_matter(seed: int) -> None:
    order_does_not_matter(gram(18, 12, 1e-3, seed).pruning(12), "bnb", seed)


def test_more_pruning_never_costs_less() -> None:
    problem = gram(24, 30, 1e-2)
    values = [cbs_opt.solve(problem.pruning(k), "bnb").objective for k in range(25)]
    assert values[0] == 0.0
    assert all(a <= b * (1 + 1e-6) for a, b in pairwise(values))
    assert values[-1] == pytest.approx(problem.objective(np.zeros(24)), rel=1e-12)


def test_stopped_early_it_holds_an_incumbent_and_a_valid_bound() -> None:
    problem = gram(42, 60, 1e-4).pruning(30)
    optimum = cbs_opt.solve(problem, "bnb").objective
    previous = -math.inf
    for limit in (0, 1, 5, 40, 200):
        stopped = cbs_opt.solve(problem, "bnb", node_limit=limit)
        assert stopped.termination_condition is TerminationCondition.ITERATION_LIMIT
        assert stopped.solution_status is SolutionStatus.FEASIBLE
        assert stopped.nodes == limit
        assert previous <= stopped.bound <= optimum <= stopped.objective * (1 + 1e-12)
        previous = stopped.bound


def test_a_time_limit_of_zero_ends_at_once_with_a_feasible_mask() -> None:
    problem = gram(40, 60, 1e-4).pruning(30)
    solution = cbs_opt.solve(problem, "bnb", time_limit=0.0)
    assert solution.termination_condition is TerminationCondition.TIME_LIMIT
    assert problem.Z.contains(solution.mask)
    assert solution.bound == 0.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_mask_that_round_off_hides_is_not_proven_away(sign: float) -> None:
    """Condition 5e13 and two masks that differ by 2e-4: the better one is ill-conditioned and looks worse in float64.

    The optimum is that of 50-digit arithmetic. Neither search nor enumeration may prove more.
    """
    import mpmath

    eps = 2e-7
    rng = np.random.default_rng(0)
    V = np.zeros((5, 5))
    V[0, 0] = V[0, 1] = 1.0
    V[1, 1] = eps
    for j in range(2, 5):
        V[1, j], V[j, j] = sign, 1.7 + 0.1 * j
    V = np.linalg.qr(rng.normal(size=(5, 5)))[0] @ V
    H = V.T @ V
    problem = cbs_opt.PruningProblem([6.0, 6.0, 1.0, 1.1, 0.9], (H + H.T) / 2).pruning(3)
    with mpmath.workdps(50):
        exact = mpmath.matrix(problem.curvature.dense().tolist())
        values = []
        for i in range(5):
            for j in range(i):
                pruned = [p for p in range(5) if p not in (i, j)]
                inverse = exact**-1
                block = mpmath.matrix([[inverse[p, q] for q in pruned] for p in pruned])
                w = mpmath.matrix([problem.w_bar[p] for p in pruned])
                values.append(float((w.T * mpmath.lu_solve(block, w))[0] / 2))
    for method in ("bnb", "enumeration"):
        assert cbs_opt.solve(problem, method).bound <= min(values)
    assert cbs_opt.lower_bound(problem).value <= min(values)


def test_a_memory_limit_is_kept_and_said() -> None:
    problem = gram(40, 60, 1e-4).pruning(30)
    optimum = cbs_opt.solve(problem, "bnb").objective
    stopped = cbs_opt.solve(problem, "bnb", memory_limit=20 * (500 + 17 * 40 + 1400))
    assert stopped.termination_condition is TerminationCondition.ITERATION_LIMIT
    assert stopped.notes == ("stopped at 20 open nodes, the memory limit of 5.16e+04 bytes",)
    assert stopped.bound <= optimum <= stopped.objective


def test_a_start_is_taken() -> None:
    problem = gram(40, 60, 1e-4).pruning(30)
    best = cbs_opt.solve(problem, "bnb")
    started = cbs_opt.solve(problem, "bnb", start=best.mask, node_limit=0)
    assert np.array_equal(started.mask, best.mask)
    with pytest.raises(cbs_opt.errors.InputError, match="start: has shape"):
        cbs_opt.solve(problem, "bnb", start=best.mask[1:])
    with pytest.raises(cbs_opt.errors.PatternError, match="start: keeps 40"):
        cbs_opt.solve(problem, "bnb", start=np.ones(40))


def test_an_interrupt_loses_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = gram(40, 60, 1e-4).pruning(30)
    optimum = cbs_opt.solve(problem, "bnb").objective
    process, calls = bnb_search.Search._process, 0

    def interrupted(search: bnb_search.Search) -> None:
        nonlocal calls
        calls += 1
        if calls == 17:
            raise KeyboardInterrupt
        process(search)

    monkeypatch.setattr(bnb_search.Search, "_process", interrupted)
    solution = cbs_opt.solve(problem, "bnb")
    assert solution.termination_condition is TerminationCondition.INTERRUPTED
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert solution.bound <= optimum <= solution.objective


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS)
def test_a_tree_that_begins_anew_is_as_right(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Begun anew at nodes 2, 3 and 5, and stopped at any of the first eight, it claims no more than enumeration."""
    monkeypatch.setattr(bnb_search, "BEGINNINGS", {1: 1, 2: 1, 3: 2, 5: 40})
    monkeypatch.setattr(bnb_search, "DIRECT_ROOM", 0)
    monkeypatch.setattr(bnb_search, "MOST_ROOM", 0)
    problem = gram(11, int(np.random.default_rng(seed).integers(2, 20)), 1e-4, seed).pruning(7)
    optimum, error = best_by_enumeration(problem)
    for limit in (*range(1, 9), None):
        solution = cbs_opt.solve(problem, "bnb", node_limit=limit)
        assert solution.bound <= optimum + error
        assert solution.objective >= optimum - error
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.objective <= optimum * (1 + 2e-6) + error


def test_progress_is_told_in_the_units_of_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "REPORT_EVERY", 0.0)
    problem = gram(40, 60, 1e-4).pruning(30)
    seen: list[tuple[int, float, float]] = []
    solution = cbs_opt.solve(problem, "bnb", progress=lambda *report: seen.append(report))
    assert [nodes for nodes, _, _ in seen] == list(range(solution.nodes + 1))  # the last call is at the end
    assert all(bound <= solution.objective * (1 + 1e-9) <= incumbent * (1 + 2e-9) for _, incumbent, bound in seen)


@pytest.mark.parametrize(("method", "threads"), [("bnb", {}), ("bnb", {"threads": 2}), ("bnb-selection", {})])
def test_progress_can_stop_the_search_and_what_is_proven_holds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str, threads: dict[str, int]
) -> None:
    monkeypatch.setattr(tree, "REPORT_EVERY", 0.0)
    monkeypatch.setattr(bnb_search.Search, "shared_from", 1)
    monkeypatch.setattr(bnb_search, "DIRECT_ROOM", 0)
    monkeypatch.setattr(bnb_search, "MOST_ROOM", 0)
    problem = gram(14, 20, 1e-4).pruning(7)
    seen: list[int] = []

    def stop(nodes: int, incumbent: float, bound: float) -> bool:
        seen.append(nodes)
        if nodes >= 3:
            raise StopIteration
        return True  # what it returns plays no part

    with caplog.at_level("INFO", logger="cbs_opt"):
        solution = cbs_opt.solve(problem, method, progress=stop, **threads)
    assert max(seen) == solution.nodes >= 3
    assert solution.termination_condition == "stoppedByProgress"
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert solution.notes[-1] == f"stopped by its progress callback after {solution.nodes} nodes"
    assert "stopped by its progress callback" in caplog.text
    optimum, error = best_by_enumeration(problem)
    assert solution.bound <= optimum + error
    assert optimum - error <= solution.objective


def test_progress_that_stops_at_the_end_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "REPORT_EVERY", 1e9)
    problem = gram(14, 20, 1e-4).pruning(7)

    def stop(*report: float) -> None:
        raise StopIteration

    free, told = cbs_opt.solve(problem, "bnb"), cbs_opt.solve(problem, "bnb", progress=stop)
    assert told.solution_status is SolutionStatus.OPTIMAL
    assert (told.bound, told.nodes, told.notes) == (free.bound, free.nodes, free.notes)


def test_a_search_begins_with_a_solution() -> None:
    problem = gram(14, 20, 1e-4).pruning(7)
    best = cbs_opt.solve(problem, "bnb")
    again = cbs_opt.solve(problem, "bnb", start=best, node_limit=1)
    assert np.array_equal(again.mask, best.mask)
    assert cbs_opt.solve(problem, "swap", start=best).objective <= best.objective * (1 + 1e-12)


def test_forced_and_forbidden_weights_are_respected() -> None:
    problem = gram(16, 30, 1e-3)
    free = cbs_opt.solve(problem.pruning(11), "bnb")
    kept, pruned = np.flatnonzero(free.mask), np.flatnonzero(~free.mask)
    pattern = cbs_opt.Cardinality(16, 11, keep=pruned[:2], forbid=kept[:2])
    forced = cbs_opt.solve(problem.within(pattern), "bnb")
    assert forced.solution_status is SolutionStatus.OPTIMAL
    assert forced.mask[pruned[:2]].all()
    assert not forced.mask[kept[:2]].any()
    assert forced.objective > free.objective
    assert forced.objective == pytest.approx(best_by_enumeration(problem.within(pattern))[0], rel=2e-6)


@pytest.mark.data
def test_stored_optima_of_the_shared_blocks(
    shared_block: cbs_opt.PruningProblem, stored: list[tuple[int, float]]
) -> None:
    for prune, optimum in stored:
        solution = cbs_opt.solve(shared_block.pruning(prune), "bnb", time_limit=60.0)
        assert solution.solution_status is SolutionStatus.OPTIMAL
        assert solution.objective == pytest.approx(optimum, rel=1e-6)
        assert solution.bound <= optimum * (1 + 1e-6)
