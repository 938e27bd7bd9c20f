"""The linear oracle of rows: a bound for any multipliers, against its formula in fractions, and programs by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from cbs_opt.kernel.patterns.program import Program
from cbs_opt.kernel.patterns.rows import Named, Rows

SEEDS = st.integers(0, 2**32 - 1)


def rows_of(A: Any, b: Any, low: Any, high: Any, whole: Any = True) -> Rows:
    """Rows over weights only."""
    matrix = csr_array(np.array(A, dtype=np.float64))
    m, n = matrix.shape
    named = (Named("rows", m, "drawn or written by hand"),)
    bounds = (np.array(low, dtype=np.float64), np.array(high, dtype=np.float64))
    return Rows(matrix, np.array(b, dtype=np.float64), *bounds, np.broadcast_to(whole, n).copy(), named)


def test_the_relaxation_of_a_budget() -> None:
    """max 5x₀ + 6x₁ + 6x₂ over x₀ + 2x₁ + 3x₂ ≤ 4: a third of the last, a multiplier of 2, and 2·4 + 3 + 2 = 13."""
    found = Program(rows_of([[1, 2, 3]], [4], [0, 0, 0], [1, 1, 1])).relaxed(np.array([5.0, 6.0, 6.0]))
    assert 13.0 <= found.value <= 13.0 + 1e-9
    np.testing.assert_allclose(found.d, [3.0, 2.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(found.x, [1.0, 1.0, 1.0 / 3.0], atol=1e-9)


def test_the_relaxation_with_a_forced_column() -> None:
    """max x₀ + 6x₁ over 2x₀ + 2x₁ ≤ 3 and x₀ = 1: half of x₁; with the multiplier 3, 3·3 + (1 − 2·3)·1 = 4."""
    found = Program(rows_of([[2, 2]], [3], [1, 0], [1, 1])).relaxed(np.array([1.0, 6.0]))
    assert 4.0 <= found.value <= 4.0 + 1e-9
    np.testing.assert_allclose(found.d, [-5.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(found.x, [1.0, 0.5], atol=1e-9)


def test_a_column_without_an_end() -> None:
    """x₀ ≤ x₁ ≤ ½ with x₁ from −∞ to ∞ has the maximum ½; without x₁ ≤ ½ there is none of x₁ itself."""
    ends = ([0, -np.inf], [1, np.inf])
    bounded = Program(rows_of([[1, -1], [0, 1]], [0, 0.5], *ends, whole=[True, False]))
    assert 0.5 <= bounded.relaxed(np.array([1.0, 0.0])).value <= 0.5 + 1e-9
    unbounded = Program(rows_of([[1, -1]], [0], *ends, whole=[True, False]))
    assert unbounded.relaxed(np.array([0.0, 1.0])).value == math.inf
    assert 1.0 <= unbounded.relaxed(np.array([1.0, 0.0])).value <= 1.0 + 1e-9


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_weak_duality_holds_for_any_multipliers(seed: int) -> None:
    """L(y) = bᵀy + Σ max d_j x_j in fractions, for y that solve nothing, some of them of the wrong sign."""
    rng = np.random.default_rng(seed)
    m, n = (int(k) for k in rng.integers(1, 5, 2))
    A = rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.8) * 10.0 ** rng.integers(-5, 6, (m, 1))
    low = np.where(rng.random(n) < 0.3, -rng.exponential(size=n), 0.0)
    rows = rows_of(A, rng.normal(size=m), low, low + rng.exponential(size=n), whole=False)
    program, scores = Program(rows), rng.normal(size=n) * 10.0 ** (rng.integers(-9, 10) + rng.integers(-4, 5, n))
    duals, x = -rng.normal(size=m) * 10.0 ** rng.integers(-4, 5, m), rng.normal(size=n)
    solution = SimpleNamespace(row_dual=duals, col_value=x)
    program._passed = lambda *_: SimpleNamespace(getSolution=lambda: solution)  # type: ignore[method-assign]
    found = program.relaxed(scores)
    assert found.x.tolist() == np.clip(x, rows.low, rows.high).tolist()

    # The multipliers are those of rows whose largest entry lies in [1, 2), for scores about 1024 at the most.
    largest = [Fraction(2) ** math.floor(math.log2(top)) if top else Fraction(1) for top in np.abs(A).max(axis=1)]
    unit = 1024 / Fraction(2) ** math.floor(math.log2(np.abs(scores).max()))
    y = [max(Fraction(-a), Fraction(0)) / top / unit for a, top in zip(duals.tolist(), largest, strict=True)]
    bound = sum(Fraction(b) * a for b, a in zip(rows.limit.tolist(), y, strict=True))
    size = sum(abs(Fraction(b)) * a for b, a in zip(rows.limit.tolist(), y, strict=True))
    for j in range(n):
        products = [Fraction(a) * b for a, b in zip(A[:, j].tolist(), y, strict=True)]
        d, ends = (
            Fraction(float(scores[j])) - sum(products),
            (Fraction(float(rows.low[j])), Fraction(float(rows.high[j]))),
        )
        bound += max(d * ends[0], d * ends[1])
        reach = abs(Fraction(float(scores[j]))) + sum(map(abs, products))
        assert abs(Fraction(float(found.d[j])) - d) <= reach * Fraction(1, 2**48)
        size += reach * max(map(abs, ends))
    # Of sums of m + n + 1 terms, round-off is at most (m + n + 2)·2⁻⁵³ of their size; twice as much is added, and more.
    assert bound + size * Fraction(1, 2**52) <= Fraction(found.value) <= bound + size * Fraction(1, 2**46)


@pytest.mark.parametrize("slope", [0.5, 2.0])
def test_a_slope_that_is_not_zero_is_no_bound_over_a_range_without_end(slope: float) -> None:
    """Of x₂ ≥ 0 with d = −slope, round-off is multiplied by any number; that of x₁, without end too, is zero."""
    program = Program(rows_of([[1, 0, 1]], [1], [0, 0, 0], [1, np.inf, np.inf], whole=False))
    for dual, bounded in ((0.0, True), (-slope, False)):
        solution = SimpleNamespace(row_dual=np.array([dual]), col_value=np.zeros(3))
        highs = SimpleNamespace(getSolution=lambda found=solution: found)
        program._passed = lambda *_, highs=highs: highs  # type: ignore[method-assign]
        assert math.isfinite(program.relaxed(np.array([1024.0, 0.0, 0.0])).value) is bounded


@pytest.mark.parametrize(("of_highs", "bound"), [(2048.0, 2048.0), (512.0, 1024.0)])
def test_the_bound_is_no_less_than_that_of_the_search_tree_and_than_the_point(of_highs: float, bound: float) -> None:
    import highspy

    program = Program(rows_of([[1, 1]], [1], [0, 0], [1, 1]))
    highs = SimpleNamespace(
        getModelStatus=lambda: highspy.HighsModelStatus.kOptimal,
        getSolution=lambda: SimpleNamespace(col_value=np.array([1.0, 1e-10])),
        getInfo=lambda: SimpleNamespace(mip_dual_bound=-of_highs, objective_function_value=0.0),
    )
    program._passed = lambda *_: highs  # type: ignore[method-assign]
    x, found = program.best(np.array([1024.0, 100.0]))  # HiGHS gets these as they are
    assert x is not None
    assert x.tolist() == [1.0, 0.0]
    assert bound <= found <= bound + 1e-6


def test_the_margin_of_the_search_tree() -> None:
    """x₀ + x₁ ≤ 1: 2δ(2 + 1 + 2) with δ = 1e-9, where scores are about 1024."""
    x, bound = Program(rows_of([[1, 1]], [1], [0, 0], [1, 1])).best(np.array([1.0, 0.5]))
    assert x is not None
    assert x.tolist() == [1.0, 0.0]
    assert 1.0 + 0.99e-8 / 1024 <= bound <= 1.0 + 1.01e-8 / 1024
    # As 1.5x₀ + 1.5x₁ ≤ 1.5 over ranges of 1 and 2: 2δ(3 + 1.5 + 3), where scores are a quarter of those of HiGHS.
    _, wider = Program(rows_of([[3, 3]], [3], [0, -1], [1, 1])).best(np.array([4.0, 0.0]))
    assert 4.0 + 4 * 1.49e-8 / 1024 <= wider <= 4.0 + 4 * 1.51e-8 / 1024


def test_rows_without_a_point() -> None:
    program = Program(rows_of([[-1, -1], [1, 0]], [-1, 0], [0, 0], [1, 1]))
    assert program.possible(np.zeros(2), np.ones(2))
    assert not program.possible(np.zeros(2), np.array([1.0, 0.0]))
    assert not program.possible(np.array([1.0, 1.0]), np.ones(2))
    nowhere = Program(rows_of([[-1, -1]], [-3], [0, 0], [1, 1]))
    only_between = Program(rows_of([[2, 2], [-2, -2]], [1, -1], [0, 0], [1, 1]))  # x₀ + x₁ = ½
    for program in (nowhere, only_between):
        assert program.best(np.ones(2)) == (None, -math.inf)
        assert not program.possible(np.zeros(2), np.ones(2))


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1.0, 3e9, 1e200])
def test_scores_of_any_scale(scale: float) -> None:
    """max 5x₀ + 3x₁ + 3x₂ over 3x₀ + 2x₁ + 2x₂ ≤ 4: 6 in whole numbers, and 5 + 3/2 in others."""
    program = Program(rows_of([[3, 2, 2]], [4], [0, 0, 0], [1, 1, 1]))
    scores = np.array([5.0, 3.0, 3.0])
    x, bound = program.best(scores * scale)
    assert x is not None
    assert x.tolist() == [0.0, 1.0, 1.0]
    assert 6.0 * scale <= bound <= (6.0 + 1e-9) * scale
    assert 6.5 * scale * (1 - 1e-15) <= program.relaxed(scores * scale).value <= 6.51 * scale
