"""The paper's initialization and local search against a plain transcription of Algorithm 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, PruningProblem, solve
from cbs_opt.solvers.heuristic.cbs import local_search, selection_increase
from cbs_opt.solvers.heuristic.randomized_magnitude import randomized_magnitude


def make_problem(n: int, seed: int, first_order: bool = False) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2 * n, n)) * np.exp(rng.standard_normal(n))
    g = 0.1 * rng.standard_normal(n) if first_order else None
    return PruningProblem(rng.standard_normal(n), X.T @ X / (2 * n), g=g)


def cost(problem: PruningProblem, pruned: list[int]) -> float:
    w = problem.w_bar.copy()
    w[pruned] = 0.0
    return problem.objective(w)


def transcribed(problem: PruningProblem, start: np.ndarray, rho: int, epsilon: float, tau: int) -> np.ndarray:
    """Algorithm 1 by evaluating f for every question asked of it."""
    pruned = [int(i) for i in np.flatnonzero(~start)]
    kept = [int(j) for j in np.flatnonzero(start)]
    threshold = epsilon * cost(problem, pruned)
    while pruned and kept:
        now, before = cost(problem, pruned), list(pruned)
        pruned.sort(key=lambda i: cost(problem, [p for p in before if p != i]))
        first = pruned[0]
        kept.sort(key=lambda j: cost(problem, [p for p in before if p != first] + [j]))
        misses, taken = 0, set()
        for t in range(len(pruned)):
            for s in range(max(0, t - rho), min(len(kept), t + rho + 1)):
                if s in taken:
                    continue
                trial = list(pruned)
                trial[t] = kept[s]
                if cost(problem, trial) - cost(problem, pruned) < -threshold:
                    pruned[t], kept[s] = kept[s], pruned[t]
                    taken.add(s)
                    break
            else:
                misses += 1
                if misses >= tau:
                    break
        if not cost(problem, pruned) < now:
            break
    mask = np.ones(problem.n, dtype=bool)
    mask[pruned] = False
    return mask


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 14), seed=st.integers(0, 2**31), rho=st.integers(0, 4), tau=st.integers(1, 4))
def test_local_search_is_algorithm_1(n: int, seed: int, rho: int, tau: int) -> None:
    problem = make_problem(n, seed).pruning(n // 2)
    start = problem.Z.argmax(np.random.default_rng(seed).random(n))
    found = local_search(problem, start, rho=rho, epsilon=1e-4, tau=tau)
    assert (found == transcribed(problem, start, rho, 1e-4, tau)).all()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 12), seed=st.integers(0, 2**31), first_order=st.booleans())
def test_is_no_worse_than_its_start(n: int, seed: int, first_order: bool) -> None:
    problem = make_problem(n, seed, first_order).pruning(n // 2)
    start = problem.Z.argmax(problem.w_bar**2)
    found = local_search(problem, start, rho=10, epsilon=1e-4, tau=20)
    assert selection_increase(problem, found) <= selection_increase(problem, start)
    assert found.sum() == start.sum()
    assert solve(problem, "cbs").selection_objective <= solve(problem, "magnitude").selection_objective + 1e-12


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 10), seed=st.integers(0, 2**31), first_order=st.booleans())
def test_wide_window_ends_at_a_local_optimum(n: int, seed: int, first_order: bool) -> None:
    problem = make_problem(n, seed, first_order).pruning(n // 2)
    start = problem.Z.argmax(problem.w_bar**2)
    mask = local_search(problem, start, rho=n, epsilon=1e-9, tau=n + 1)
    pruned = [int(i) for i in np.flatnonzero(~mask)]
    removed = np.where(start, 0.0, problem.w_bar)
    slack = 2e-9 * (problem.curvature.quadratic(removed) + np.abs(problem.linear_term() * removed).sum())
    for i in pruned:
        for j in np.flatnonzero(mask):
            exchanged = [p for p in pruned if p != i] + [int(j)]
            assert cost(problem, exchanged) >= cost(problem, pruned) - slack


def test_two_weights_that_cancel_are_pruned_together() -> None:
    # Alone, weights 0 and 1 cost 0.5 each; together only 0.5·(1 + 1 − 1.8) = 0.1.
    H = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    problem = PruningProblem(np.array([1.0, -1.0, 0.9]), H).pruning(2)
    assert solve(problem, "magnitude").mask.tolist() == [True, False, False]
    assert solve(problem, "cbs").mask.tolist() == [False, False, True]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 2**31), data=st.data())
def test_randomized_magnitude_keeps_the_exact_number(n: int, seed: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    keep = list(range(min(2, n - k)))
    pattern = Cardinality(n, k, keep=keep, forbid=[n - 1] if n > 3 else [])
    w = np.round(np.random.default_rng(seed).standard_normal(n), 1)
    mask = randomized_magnitude(w, pattern, np.random.default_rng(seed))
    assert pattern.contains(mask)
    assert mask.sum() == pattern.keep.sum() + pattern.most_kept_free


def test_randomized_magnitude_stays_near_the_largest() -> None:
    w = np.arange(1.0, 401.0)
    mask = randomized_magnitude(w, Cardinality(400, 200), np.random.default_rng(0))
    plain = w > 200
    assert 5 < (mask & ~plain).sum() < 40
    assert mask[w > 380].all()


def test_seeds_and_trials() -> None:
    problem = make_problem(60, 3).pruning(30)
    only_magnitude = solve(problem, "cbs", trials=1)
    start = problem.Z.argmax(problem.w_bar**2)
    assert (only_magnitude.mask == local_search(problem, start, rho=10, epsilon=1e-4, tau=20)).all()
    assert (solve(problem, "cbs", seed=1).mask == solve(problem, "cbs", seed=1).mask).all()


def test_first_order_term_is_part_of_the_selection() -> None:
    # Pruning the large weight lowers the loss by its first-order term.
    problem = PruningProblem(np.array([2.0, 1.0]), np.eye(2), g=np.array([5.0, 0.0])).pruning(1)
    found = solve(problem, "cbs")
    assert found.mask.tolist() == [False, True]
    assert found.selection_objective == pytest.approx(0.5 * 4 - 10)
