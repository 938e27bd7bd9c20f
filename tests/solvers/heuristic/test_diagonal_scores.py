"""magnitude, obd, wanda and woodfisher: their scores against plain numpy, and the cases where they are optimal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, DiagonalCurvature, PruningProblem, Quotas, RowsCurvature, solve
from cbs_opt.solvers.heuristic.woodfisher import obs_scores
from cbs_opt.testing import check_method


def make_problem(n: int, seed: int, first_order: bool = False) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((3 * n, n)) * np.exp(rng.standard_normal(n))
    g = rng.standard_normal(n) if first_order else None
    return PruningProblem(rng.standard_normal(n), X.T @ X / (3 * n), g=g)


def keep_largest(scores: np.ndarray, count: int) -> np.ndarray:
    mask = np.zeros(len(scores), dtype=bool)
    mask[np.argsort(-scores, kind="stable")[:count]] = True
    return mask


def test_magnitude_by_hand() -> None:
    problem = PruningProblem(np.array([3.0, -4.0, 0.5, -0.1]), np.eye(4)).pruning(2)
    assert solve(problem, "magnitude").mask.tolist() == [True, True, False, False]


@given(n=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_magnitude_is_optimal_for_the_identity(n: int, seed: int) -> None:
    w = np.random.default_rng(seed).standard_normal(n)
    problem = PruningProblem(w, DiagonalCurvature(np.full(n, 3.0))).pruning(n // 2)
    assert (solve(problem, "magnitude").mask == solve(problem, "enumeration").mask).all()


@given(n=st.integers(1, 12), seed=st.integers(0, 2**32 - 1), first_order=st.booleans())
@settings(max_examples=40, deadline=None)
def test_obd_ranks_by_what_pruning_alone_costs(n: int, seed: int, first_order: bool) -> None:
    problem = make_problem(n, seed, first_order).pruning(n // 2)
    alone = np.array([problem.objective(problem.w_bar * (np.arange(n) != i)) for i in range(n)])
    assert (solve(problem, "obd").mask == keep_largest(alone, n - n // 2)).all()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_obd_is_the_best_selection_of_its_size_for_a_diagonal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = PruningProblem(rng.standard_normal(8), DiagonalCurvature(rng.random(8) + 0.1)).pruning(5)
    assert solve(problem, "obd").selection_gap == np.inf
    found, best = solve(problem, "obd"), solve(problem, "enumeration-selection")
    assert found.selection_objective == pytest.approx(best.selection_objective, rel=1e-12)


def test_obd_takes_negative_scores_of_forced_weights() -> None:
    pattern = Cardinality(4, 2, keep=[0], forbid=[3])
    g = np.array([50.0, 0.0, 0.3, 80.0])
    problem = PruningProblem(np.array([1.0, 0.5, 0.6, 1.0]), np.eye(4), pattern, g)
    # Alone, weight 1 costs 0.125 and weight 2 costs 0.18 − 0.18 = 0.
    assert solve(problem, "obd").mask.tolist() == [True, True, False, False]


@pytest.mark.parametrize(("length", "kept"), [(8, 3), (4, 2)])
def test_wanda_keeps_the_largest_weight_times_norm_of_its_input(length: int, kept: int) -> None:
    """In each output row, or in each four inputs, by the published score; g changes nothing."""
    rng = np.random.default_rng(length)
    X, W = rng.standard_normal((30, 8)) * np.exp(rng.standard_normal(8)), rng.standard_normal((5, 8))
    scores = (np.abs(W) * np.linalg.norm(X, axis=0)).reshape(-1, length)
    expected = np.concatenate([keep_largest(row, kept) for row in scores])
    for g in (None, rng.standard_normal(40)):
        curvature = RowsCurvature(X.T @ X / 30, 5)
        problem = PruningProblem(W.ravel(), curvature, Quotas([length] * (40 // length), length - kept), g)
        assert (solve(problem, "wanda").mask == expected).all()


def test_wanda_is_obd_without_a_first_order_term() -> None:
    problem = make_problem(12, 5).pruning(7)
    assert (solve(problem, "wanda").mask == solve(problem, "obd").mask).all()
    check_method("wanda", range(3))


@given(n=st.integers(1, 12), seed=st.integers(0, 2**32 - 1), first_order=st.booleans())
@settings(max_examples=40, deadline=None)
def test_woodfisher_scores_are_the_cost_of_one_pruned_and_all_others_retuned(
    n: int, seed: int, first_order: bool
) -> None:
    problem = make_problem(n, seed, first_order).pruning(n // 2)
    H, b = problem.curvature.dense(), problem.curvature.matvec(problem.w_bar) - problem.linear_term()
    least = -0.5 * b @ np.linalg.solve(H, b)
    expected = []
    for i in range(n):
        rest = np.delete(np.arange(n), i)
        expected.append(-0.5 * b[rest] @ np.linalg.solve(H[np.ix_(rest, rest)], b[rest]) - least)
    assert obs_scores(problem) == pytest.approx(np.array(expected), rel=1e-6, abs=1e-9 * abs(least))
    found = solve(problem, "woodfisher").mask
    assert (found == keep_largest(obs_scores(problem), n - n // 2)).all()
