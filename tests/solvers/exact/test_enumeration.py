"""Enumeration against itertools and plain linear solves."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, PruningProblem, solve
from cbs_opt.errors import TooLargeError
from cbs_opt.kernel.result import SolutionStatus


def make_problem(n: int, seed: int, first_order: bool = False) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2 * n, n)) * np.exp(rng.standard_normal(n))
    g = rng.standard_normal(n) if first_order else None
    return PruningProblem(rng.standard_normal(n), X.T @ X / (2 * n), g=g, offset=0.25)


def brute_force(problem: PruningProblem, Z: Cardinality, update: bool) -> float:
    H, g, w_bar = problem.curvature.dense(), problem.linear_term(), problem.w_bar
    best = np.inf
    for size in range(problem.n - Z.prune + 1):
        for kept in combinations(range(problem.n), size):
            mask = np.isin(np.arange(problem.n), kept)
            if not Z.contains(mask):
                continue
            w = np.where(mask, w_bar, 0.0)
            if update:
                S = np.flatnonzero(mask)
                w[S] = np.linalg.solve(H[np.ix_(S, S)], (H @ w_bar - g)[S])
            best = min(best, problem.objective(w))
    return best


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 7), seed=st.integers(0, 2**31), first_order=st.booleans(), data=st.data())
def test_equals_brute_force(n: int, seed: int, first_order: bool, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    pattern = Cardinality(n, k, keep=[0] if k < n else [], forbid=[n - 1] if n > 1 and k > 0 else [])
    problem = make_problem(n, seed, first_order).within(pattern)
    joint, selection = solve(problem, "enumeration"), solve(problem, "enumeration-selection")
    assert joint.objective == pytest.approx(brute_force(problem, pattern, True), rel=1e-9, abs=1e-9)
    assert selection.selection_objective == pytest.approx(brute_force(problem, pattern, False), rel=1e-9, abs=1e-12)
    for found in (joint, selection):
        assert found.solution_status is SolutionStatus.OPTIMAL
    assert joint.bound <= joint.objective
    assert joint.objective - joint.bound <= (n + 3) * joint.round_off
    assert selection.selection_bound <= selection.selection_objective
    assert joint.bound <= selection.selection_objective + selection.selection_round_off


def test_by_hand() -> None:
    # Pruning one weight and re-tuning the other costs ½ w̄_i² (1 − 0.25); the smaller weight goes.
    problem = PruningProblem(np.array([2.0, 1.0]), np.array([[1.0, 0.5], [0.5, 1.0]])).pruning(1)
    found = solve(problem, "enumeration")
    assert found.mask.tolist() == [True, False]
    assert found.weights == pytest.approx([2.5, 0.0])
    assert found.objective == pytest.approx(0.375)
    assert found.nodes == 2


def test_selection_may_prune_more_than_asked() -> None:
    problem = PruningProblem(np.array([1.0, -1.0]), np.array([[1.0, 0.9], [0.9, 1.0]])).pruning(1)
    found = solve(problem, "enumeration-selection")
    assert found.mask.tolist() == [False, False]
    assert found.selection_objective == pytest.approx(0.1)
    assert found.nodes == 3


@pytest.mark.parametrize("method", ["enumeration", "enumeration-selection"])
@pytest.mark.parametrize(("n", "k"), [(1, 0), (1, 1), (5, 0), (5, 5)])
def test_corner_sizes(method: str, n: int, k: int) -> None:
    found = solve(make_problem(n, 1).pruning(k), method)
    assert found.pruned >= k
    assert found.solution_status is SolutionStatus.OPTIMAL


@pytest.mark.parametrize("seed", range(4))
def test_round_off_of_an_ill_conditioned_block_is_in_the_bound(seed: int) -> None:
    """Masks whose values are known less well than the best one's lower the bound of all, a little."""
    n, rng = 9, np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    H = (Q * np.logspace(0, -12, n)) @ Q.T
    problem = PruningProblem(rng.standard_normal(n), (H + H.T) / 2 + 1e-13 * np.eye(n)).pruning(4)
    solution = solve(problem, "enumeration")
    assert solution.bound < solution.objective
    assert solution.gap <= 1e-3


def test_units_do_not_matter() -> None:
    problem = make_problem(8, 2)
    for curvature_unit, weight_unit in [(1e10, 1e-6), (1e-10, 1e6)]:
        scaled = PruningProblem(problem.w_bar * weight_unit, problem.curvature.dense() * curvature_unit).pruning(4)
        for method in ("enumeration", "enumeration-selection"):
            assert (solve(scaled, method).mask == solve(problem.pruning(4), method).mask).all()


def test_too_many_weights_are_refused() -> None:
    with pytest.raises(TooLargeError, match="20"):
        solve(make_problem(21, 0).pruning(10), "enumeration")
