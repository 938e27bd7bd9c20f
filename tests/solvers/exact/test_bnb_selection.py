"""Branch and bound on the selection against enumeration and HiGHS; scales, ties, limits and interrupts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbs_opt
import cbs_opt.errors
from cbs_opt.kernel.result import SolutionStatus, TerminationCondition
from cbs_opt.solvers.exact import bnb_selection, tree
from cbs_opt.testing.instances import gram, random_problem
from cbs_opt.testing.method_laws import order_does_not_matter, units_do_not_matter

SEEDS = st.integers(0, 2**32 - 1)
METHOD = "bnb-selection"


HARD = gram(48, 20, 1e-3).pruning(20)
"""Takes some hundred nodes."""


@settings(max_examples=200, deadline=None)
@given(seed=SEEDS)
def test_equals_enumeration_and_never_claims_more(seed: int) -> None:
    problem = random_problem(seed)
    if problem is None:
        return
    oracle = cbs_opt.solve(problem, "enumeration-selection")
    optimum, error = oracle.selection_objective, oracle.selection_round_off
    solution = cbs_opt.solve(problem, METHOD)
    assert solution.selection_bound <= optimum + error + 1e-13 * abs(optimum)
    assert solution.selection_objective <= optimum * (1 + math.copysign(2e-6, optimum)) + error
    # Where f itself is not known to the tolerance, the answer is honestly called feasible.
    if solution.selection_round_off <= 1e-8 * abs(solution.selection_objective):
        assert solution.solution_status is SolutionStatus.OPTIMAL


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, n=st.integers(13, 15))
def test_equals_enumeration_at_fifteen_weights(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    problem = gram(n, int(rng.integers(2, 40)), 10.0 ** rng.uniform(-6, 0), seed).pruning(int(rng.integers(1, n)))
    optimum = cbs_opt.solve(problem, "enumeration-selection").selection_objective
    solution = cbs_opt.solve(problem, METHOD)
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.selection_bound <= optimum * (1 + 1e-13)
    assert solution.selection_objective <= optimum * (1 + 2e-6)


@pytest.mark.parametrize("n", [20, 26])
def test_agrees_with_highs(n: int) -> None:
    problem = gram(n, n, 1e-2, n).at_sparsity(0.7)
    own, other = cbs_opt.solve(problem, METHOD), cbs_opt.solve(problem, "highs-selection")
    assert own.solution_status is SolutionStatus.OPTIMAL
    assert own.selection_objective == pytest.approx(other.selection_objective, rel=2e-6)
    assert other.selection_bound <= own.selection_objective * (1 + 1e-9)
    assert own.selection_bound <= other.selection_objective * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, h=st.sampled_from([1e-10, 1e-3, 1e10]), w=st.sampled_from([1e-6, 7.0, 1e6]))
def test_units_do_not_matter(seed: int, h: float, w: float) -> None:
    units_do_not_matter(gram(16, 12, 1e-3, seed).pruning(9), METHOD, h, w)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_units_of_single_weights_do_not_matter(seed: int) -> None:
    """Neither A nor ℓ knows in what units a weight is measured."""
    drawn = gram(14, 12, 1e-3, seed)
    problem = cbs_opt.PruningProblem(drawn.w_bar, drawn.curvature.dense()).pruning(9)
    units = 2.0 ** np.random.default_rng(seed).integers(-40, 40, 14)
    H = problem.curvature.dense() / units / units[:, None]
    scaled = cbs_opt.PruningProblem(problem.w_bar * units, H, pattern=problem.pattern)
    one, other = cbs_opt.solve(problem, METHOD), cbs_opt.solve(scaled, METHOD)
    assert np.array_equal(one.mask, other.mask)
    assert one.selection_bound == other.selection_bound


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_order_of_the_weights_does_not_matter(seed: int) -> None:
    order_does_not_matter(gram(18, 12, 1e-3, seed).pruning(12), METHOD, seed)


def test_pruning_more_than_asked_can_pay() -> None:
    """Two weights that cancel each other: with one gone, the other had better go too."""
    problem = cbs_opt.PruningProblem([1.0, -1.0, 3.0], [[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]).pruning(1)
    solution = cbs_opt.solve(problem, METHOD)
    assert solution.pruned == 2
    assert solution.solution_status is SolutionStatus.OPTIMAL
    # ½(1 − 2·0.9 + 1) against ½ for one alone.
    assert solution.selection_objective == pytest.approx(0.1, rel=1e-12)


def test_equal_weights_need_no_enumeration() -> None:
    """Every mask that prunes half is optimal; the bound closes at the root."""
    solution = cbs_opt.solve(cbs_opt.PruningProblem(np.ones(40), np.eye(40)).pruning(20), METHOD, node_limit=50)
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.selection_objective == 10.0
    assert solution.nodes == 1


def test_zeros_are_pruned_for_nothing() -> None:
    w = np.array([0.0, 2.0, 0.0, 1.0, 3.0])
    H = np.eye(5) + 0.5
    assert cbs_opt.solve(cbs_opt.PruningProblem(w, H).pruning(2), METHOD).selection_objective == 0.0
    kept = cbs_opt.Cardinality(5, 2, keep=[0])
    solution = cbs_opt.solve(cbs_opt.PruningProblem(w, H, pattern=kept), METHOD)
    assert solution.mask.tolist() == [True, True, False, False, True]
    assert solution.selection_objective == pytest.approx(0.75, rel=1e-12)
    nothing = cbs_opt.solve(cbs_opt.PruningProblem(np.zeros(5), H).pruning(3), METHOD)
    assert nothing.selection_objective == nothing.selection_bound == 0.0


def test_the_value_at_the_trained_weights_is_part_of_bound_and_objective() -> None:
    problem = gram(16, 12, 1e-3).pruning(9)
    H = problem.curvature.dense()
    moved = cbs_opt.PruningProblem(problem.w_bar, H, pattern=problem.pattern, offset=-3.0)
    plain, other = cbs_opt.solve(problem, METHOD), cbs_opt.solve(moved, METHOD)
    assert other.selection_objective == pytest.approx(plain.selection_objective - 3.0, rel=1e-5)
    assert other.selection_bound <= plain.selection_objective - 3.0


def test_stopped_early_it_holds_an_incumbent_and_a_valid_bound() -> None:
    optimum = cbs_opt.solve(HARD, METHOD).selection_objective
    previous = 0.0
    for limit in (0, 1, 5, 40):
        stopped = cbs_opt.solve(HARD, METHOD, node_limit=limit)
        assert stopped.termination_condition is TerminationCondition.ITERATION_LIMIT
        assert stopped.solution_status is SolutionStatus.FEASIBLE
        assert stopped.nodes == limit
        assert previous <= stopped.selection_bound <= optimum <= stopped.selection_objective * (1 + 1e-12)
        previous = stopped.selection_bound


def test_a_time_limit_of_zero_ends_at_once_with_a_feasible_mask() -> None:
    solution = cbs_opt.solve(HARD, METHOD, time_limit=0.0)
    assert solution.termination_condition is TerminationCondition.TIME_LIMIT
    assert HARD.Z.contains(solution.mask)
    assert solution.selection_bound == 0.0
    assert solution.bound == -math.inf


def test_a_memory_limit_is_kept_and_said() -> None:
    optimum = cbs_opt.solve(HARD, METHOD).selection_objective
    size = tree.OPEN_NODE + bnb_selection.BYTES_PER_WEIGHT * 48
    stopped = cbs_opt.solve(HARD, METHOD, memory_limit=10 * size)
    assert stopped.termination_condition is TerminationCondition.ITERATION_LIMIT
    assert stopped.notes[0].startswith("stopped at 10 open nodes, the memory limit")
    assert stopped.selection_bound <= optimum <= stopped.selection_objective


def test_a_start_is_taken() -> None:
    best = cbs_opt.solve(HARD, METHOD)
    started = cbs_opt.solve(HARD, METHOD, start=best.mask, node_limit=0)
    assert np.array_equal(started.mask, best.mask)
    with pytest.raises(cbs_opt.errors.InputError, match="start: has shape"):
        cbs_opt.solve(HARD, METHOD, start=best.mask[1:])
    with pytest.raises(cbs_opt.errors.PatternError, match="start: keeps 48"):
        cbs_opt.solve(HARD, METHOD, start=np.ones(48))


def test_an_interrupt_loses_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    optimum = cbs_opt.solve(HARD, METHOD).selection_objective
    branch, calls = bnb_selection._Search.branch, 0

    def interrupted(search: bnb_selection._Search, node: bnb_selection._Node) -> object:
        nonlocal calls
        calls += 1
        if calls == 17:
            raise KeyboardInterrupt
        return branch(search, node)

    monkeypatch.setattr(bnb_selection._Search, "branch", interrupted)
    solution = cbs_opt.solve(HARD, METHOD)
    assert solution.termination_condition is TerminationCondition.INTERRUPTED
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert solution.selection_bound <= optimum <= solution.selection_objective


def test_progress_is_told_in_the_units_of_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "REPORT_EVERY", 0.0)
    seen: list[tuple[int, float, float]] = []
    solution = cbs_opt.solve(HARD, METHOD, progress=lambda *report: seen.append(report))
    assert [nodes for nodes, _, _ in seen] == list(range(solution.nodes + 1))  # the last call is at the end
    optimum = solution.selection_objective
    assert all(bound <= optimum * (1 + 1e-9) <= incumbent * (1 + 2e-9) for _, incumbent, bound in seen)


def test_forced_and_forbidden_weights_are_respected() -> None:
    problem = gram(15, 20, 1e-3)
    free = cbs_opt.solve(problem.pruning(9), METHOD)
    kept, pruned = np.flatnonzero(free.mask), np.flatnonzero(~free.mask)
    forced = problem.within(cbs_opt.Cardinality(15, 9, keep=pruned[:2], forbid=kept[:2]))
    solution, oracle = cbs_opt.solve(forced, METHOD), cbs_opt.solve(forced, "enumeration-selection")
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.mask[pruned[:2]].all()
    assert not solution.mask[kept[:2]].any()
    assert solution.selection_objective == pytest.approx(oracle.selection_objective, rel=2e-6)


@pytest.mark.parametrize("certified", [True, False])
def test_a_splitting_is_proven_or_lowered(certified: bool) -> None:
    """R = A − diag(D) is positive semidefinite in exact arithmetic, whatever D was asked for."""
    import mpmath

    from cbs_opt.solvers.compiled.selection_bound import certify

    rng = np.random.default_rng(3)
    Q = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    A = (Q * 10.0 ** np.linspace(-14, 0, 8)) @ Q.T
    A = (A + A.T) / 2
    D = np.full(8, -1e-6 if certified else 0.3)
    asked = D.copy()
    R, work, L = np.empty((3, 8, 8))
    assert certify(A, D, R, work, L)
    assert np.array_equal(D, asked) == certified
    with mpmath.workdps(60):
        exact = mpmath.matrix(A.tolist()) - mpmath.diag(D.tolist())
        assert min(mpmath.eigsy(exact, eigvals_only=True)) >= 0


@pytest.mark.data
def test_shared_blocks_are_proven(shared_block: cbs_opt.PruningProblem, stored: list[tuple[int, float]]) -> None:
    for prune, optimum in stored:
        solution = cbs_opt.solve(shared_block.pruning(prune), METHOD)
        assert solution.solution_status is SolutionStatus.OPTIMAL
        # The joint optimum is below every selection.
        assert optimum * (1 - 1e-6) <= solution.selection_objective
        assert solution.selection_objective <= cbs_opt.solve(shared_block.pruning(prune), "cbs").selection_objective
