"""The problem: validation, the model, and units that do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt.errors import InputError, NotPositiveDefiniteError, PatternError
from cbs_opt.kernel.curvature import DenseCurvature, DiagonalCurvature, FactorCurvature
from cbs_opt.kernel.patterns import Cardinality
from cbs_opt.kernel.problem import PruningProblem


def random_problem(seed: int, n: int = 6, **changes: Any) -> PruningProblem:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n + 1, n))
    return PruningProblem(rng.standard_normal(n), DenseCurvature(A.T @ A, 0.1), **changes)


# ---------------------------------------------------------------- the model


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.booleans())
def test_the_objective_is_the_expanded_quadratic(seed: int, with_g: bool) -> None:
    rng = np.random.default_rng(seed + 1)
    g = rng.standard_normal(6) if with_g else None
    problem = random_problem(seed, g=g, offset=0.25)
    H, w_bar, w = problem.curvature.dense(), problem.w_bar, rng.standard_normal(6)
    b, c = H @ w_bar - problem.linear_term(), 0.5 * w_bar @ H @ w_bar - problem.linear_term() @ w_bar
    assert problem.objective(w) == pytest.approx(0.25 + c - b @ w + 0.5 * w @ H @ w, rel=1e-9, abs=1e-9)
    assert problem.objective(w_bar) == 0.25
    minimizer = problem.minimizer()
    np.testing.assert_allclose(H @ minimizer, b, rtol=1e-8, atol=1e-8)
    assert problem.objective(minimizer) <= problem.objective(w)
    assert 0 <= problem.round_off(w) < 1e-10 * (1 + np.abs(H).sum()) * (1 + (w - w_bar) @ (w - w_bar))


def test_gradients_and_activations_are_second_moments_whatever_the_shape() -> None:
    rng = np.random.default_rng(0)
    for m, n in ((3, 5), (8, 5), (5, 5)):
        rows, w_bar = rng.standard_normal((m, n)), rng.standard_normal(n)
        expected = rows.T @ rows / m
        mean = float(np.diag(expected).mean())
        for make in (PruningProblem.from_gradients, PruningProblem.from_activations):
            absolute = make(w_bar, rows, damping=0.2)
            relative = make(w_bar, rows, dampening_frac=0.2)
            np.testing.assert_allclose(absolute.curvature.dense(), expected + 0.2 * np.eye(n), atol=1e-12)
            np.testing.assert_allclose(relative.curvature.dense(), expected + 0.2 * mean * np.eye(n), atol=1e-12)
            assert absolute.curvature.damping == 0.2
            assert relative.curvature.damping == pytest.approx(0.2 * mean, rel=1e-12)
            assert isinstance(absolute.curvature, FactorCurvature if m < n else DenseCurvature)


def test_damping_conventions_are_exclusive_and_checked() -> None:
    rows, w_bar = np.ones((2, 3)), np.ones(3)
    with pytest.raises(InputError, match="neither is given; give exactly one of damping"):
        PruningProblem.from_gradients(w_bar, rows)
    with pytest.raises(InputError, match="both are given; give exactly one of damping"):
        PruningProblem.from_activations(w_bar, rows, damping=1.0, dampening_frac=0.1)
    with pytest.raises(InputError, match="damping: is -1"):
        PruningProblem.from_gradients(w_bar, rows, damping=-1)
    with pytest.raises(InputError, match=r"damping: is 0, but 2 samples cannot determine 3 weights \(GᵀG"):
        PruningProblem.from_gradients(w_bar, rows, damping=0)
    with pytest.raises(NotPositiveDefiniteError, match="at least") as caught:
        PruningProblem.from_activations(w_bar, np.ones((4, 3)), damping=0)
    PruningProblem.from_activations(w_bar, np.ones((4, 3)), damping=caught.value.sufficient_damping)


def test_samples_that_stand_in_columns_are_named() -> None:
    rows, w_bar = np.ones((5, 3)), np.ones(3)
    for make, field in ((PruningProblem.from_gradients, "G"), (PruningProblem.from_activations, "X")):
        with pytest.raises(InputError, match=rf"{field}: has shape \(3, 5\) .* 3 weights.*{field}\.T"):
            make(w_bar, rows.T, dampening_frac=0.01)
        with pytest.raises(InputError, match="w: has 3 weights, but the curvature is of order 4"):
            make(w_bar, np.ones((5, 4)), dampening_frac=0.01)


# ---------------------------------------------------------------- validation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w_bar": np.ones(4)}, "w: has 4 weights, but the curvature is of order 3"),
        ({"w_bar": np.array([1.0, np.nan, 1.0])}, "w: entry 1 is nan"),
        ({"w_bar": np.ones((3, 1))}, r"w: has shape \(3, 1\)"),
        ({"g": np.ones(2)}, "g: has 2 entries, but there are 3 weights"),
        ({"g": np.array([1.0, 1.0, -np.inf])}, "g: entry 2 is -inf"),
        ({"offset": np.nan}, "offset: is nan"),
        ({"offset": np.inf}, "offset: is inf"),
        ({"offset": "x"}, "offset: is"),
        ({"curvature": np.full((3, 3), np.inf)}, r"H: entry \(0, 0\) is inf"),
        ({"curvature": np.ones((3, 2))}, "H: has shape"),
        ({"curvature": None}, "H: .*give real numbers"),
        ({"pattern": Cardinality(4, 1)}, "pattern: is for 4 weights, but there are 3"),
    ],
)
def test_bad_fields_are_named(changes: dict[str, Any], message: str) -> None:
    fields = {"w_bar": np.ones(3), "curvature": np.eye(3), **changes}
    with pytest.raises(InputError, match=f"^{message}"):
        PruningProblem(**fields)


def test_the_pattern_is_asked_for_when_it_is_missing() -> None:
    problem = random_problem(0, name="fc1 row 3")
    with pytest.raises(PatternError, match=r"none is set for fc1 row 3; use problem\.at_sparsity"):
        _ = problem.Z
    assert str(problem.at_sparsity(0.5).Z) == "prune at least 3 of 6"
    assert str(problem.pruning(2).Z) == "prune at least 2 of 6"
    with pytest.raises(PatternError, match="prune: is 7"):
        problem.pruning(7)
    with pytest.raises(PatternError, match=r"sparsity: is 1\.5"):
        problem.at_sparsity(1.5)


def test_problems_are_frozen_and_their_arrays_read_only() -> None:
    w_bar = np.ones(3)
    problem = PruningProblem(w_bar, np.eye(3), g=np.ones(3))
    with pytest.raises(AttributeError):
        problem.name = "other"  # type: ignore[misc]
    for array in (problem.w_bar, problem.g, problem.curvature.dense()):
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 2.0
    assert w_bar.flags.writeable
    assert np.shares_memory(problem.w_bar, w_bar)


# ---------------------------------------------------------------- units


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(-12, 12), st.integers(-8, 8), st.booleans())
def test_normalized_units_lie_in_one_to_two_and_lose_no_digit(seed: int, h: int, t: int, with_g: bool) -> None:
    base = random_problem(seed)
    g = np.random.default_rng(seed).standard_normal(6) * 10.0 ** (h + t) if with_g else None
    problem = PruningProblem(base.w_bar * 10.0**t, base.curvature.dense() * 10.0**h, g=g, offset=10.0 ** (h + 2 * t))
    scaled, s, unit = problem.normalized()
    assert 1 <= np.abs(scaled.minimizer()).max() < 2 or with_g
    assert 1 <= scaled.curvature.diagonal().mean() < 2
    w = np.random.default_rng(seed + 1).standard_normal(6) * 10.0**t
    assert s * scaled.objective(w / unit) == pytest.approx(problem.objective(w), rel=1e-12)
    np.testing.assert_array_equal(scaled.w_bar * unit, problem.w_bar)


def test_normalizing_zero_weights_is_harmless() -> None:
    problem = PruningProblem(np.zeros(3), DiagonalCurvature(np.ones(3)))
    scaled, s, t = problem.normalized()
    assert (s, t) == (1.0, 1.0)
    assert scaled.objective(np.ones(3)) == 1.5
