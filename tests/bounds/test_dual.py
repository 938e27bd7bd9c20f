"""The dual bound (D) of a factor: any α certifies, the best one nearly meets the optimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbs_opt
from cbs_opt import bound as bound_module
from cbs_opt.solvers.bounds.dual import dual_bound, dual_value
from instances import best_by_enumeration

SEEDS = st.integers(0, 2**32 - 1)


def factored(seed: int, n: int, m: int, damping: float, linear: bool = False) -> cbs_opt.PruningProblem:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, n)) * 10.0 ** rng.uniform(-3, 3)
    lam = damping * float((A**2).sum(axis=0).mean())
    g = rng.normal(size=n) * lam if linear else None
    return cbs_opt.PruningProblem(rng.normal(size=n), cbs_opt.FactorCurvature(A, lam), g=g, offset=0.25 * linear)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, damping=st.sampled_from([1e-6, 1e-3, 1.0]), linear=st.booleans())
def test_any_point_certifies(seed: int, damping: float, linear: bool) -> None:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 9)), int(rng.integers(1, 6))
    problem = factored(seed, n, m, damping, linear).pruning(int(rng.integers(0, n + 1)))
    optimum, error = best_by_enumeration(problem)
    assert isinstance(problem.curvature, cbs_opt.FactorCurvature)
    image = problem.curvature.A @ problem.w_bar
    for alpha in (np.zeros(m), -image, rng.normal(size=m) * np.linalg.norm(image)):
        assert dual_value(problem, alpha)[0] <= optimum + error
    assert dual_bound(problem)[0] <= optimum + error


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_supergradient(seed: int) -> None:
    """d(β) ≤ d(α) + gradient(α)ᵀ(β − α) for any two points: concavity and the gradient at once."""
    problem = factored(seed, 40, 6, 0.1, linear=True).pruning(25)
    rng = np.random.default_rng(seed + 1)
    assert isinstance(problem.curvature, cbs_opt.FactorCurvature)
    size = np.linalg.norm(problem.curvature.A @ problem.w_bar)
    alpha, beta = rng.normal(size=(2, 6)) * size
    value, gradient = dual_value(problem, alpha)
    other, _ = dual_value(problem, beta)
    assert other <= value + gradient @ (beta - alpha) + 1e-9 * (abs(value) + abs(other))


def test_closes_in_on_the_optimum_of_a_large_factor() -> None:
    """Well damped, many weights: the bound meets what the update on the magnitude support achieves, within 5 %."""
    problem = factored(3, 4000, 20, 1.0).at_sparsity(0.8)
    found = dual_bound(problem)[0]
    weights = cbs_opt.obs_update(problem, problem.Z.argmax(problem.w_bar**2))
    assert 0.95 * problem.objective(weights) <= found <= problem.objective(weights)


def test_lower_bound_takes_the_factor_where_the_dense_matrix_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = factored(5, 30, 4, 0.5).pruning(20)
    dense = cbs_opt.lower_bound(problem)
    monkeypatch.setattr(bound_module, "PERSPECTIVE_LIMIT", 10)
    factor = cbs_opt.lower_bound(problem)
    assert (dense.method, factor.method) == ("perspective", "dual")
    # The perspective bound may choose its splitting, the dual one has D = λI.
    assert 0 < factor.value <= dense.value * (1 + 1e-3)
