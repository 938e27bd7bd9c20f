"""Sums, products and quotients of bounds never lie above the exact ones, and lose at most the last digit."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbs_opt.kernel.arrays.sums import sum_above, sum_below
from cbs_opt.kernel.sums import scaled_below, total_bound

numbers = st.floats(-1e300, 1e300)


@given(st.lists(numbers, max_size=8))
def test_a_sum_is_the_largest_number_not_above_the_exact_one(terms: list[float]) -> None:
    exact, found = sum(map(Fraction, terms), Fraction(0)), sum_below(*terms)
    assert Fraction(found) <= exact
    assert Fraction(math.nextafter(found, math.inf)) > exact


@given(st.lists(st.floats(0, 1e300), max_size=8))
def test_a_sum_from_above_is_the_smallest_number_not_below_the_exact_one(terms: list[float]) -> None:
    exact, found = sum(map(Fraction, terms), Fraction(0)), sum_above(np.array(terms))
    assert Fraction(found) >= exact
    assert Fraction(math.nextafter(found, -math.inf)) < exact


def test_a_sum_from_above_that_float64_cannot_hold_is_infinite_and_that_of_nothing_is_no_minus_zero() -> None:
    assert sum_above(np.array([1e308, 1e308])) == math.inf
    assert sum_above(np.array([1.0, math.inf])) == math.inf
    assert math.copysign(1.0, sum_above(np.zeros(0))) == 1.0


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-200, 200))
def test_a_scaled_bound_is_exact_but_for_underflow(value: float, exponent: int) -> None:
    found, exact = scaled_below(value, 2.0**exponent), Fraction(value) * Fraction(2) ** exponent
    assert found == -math.inf or Fraction(found) <= exact
    if 1e-300 < abs(exact) < 1e300:
        assert Fraction(found) == exact


@given(st.lists(st.tuples(st.floats(-1e100, 1e100), st.floats(1e-100, 1e100)), max_size=6))
def test_a_total_in_units_is_below_the_exact_one(pairs: list[tuple[float, float]]) -> None:
    bounds, units = [bound for bound, _ in pairs], [unit for _, unit in pairs]
    exact = sum((Fraction(bound) / Fraction(unit) for bound, unit in pairs), Fraction(0))
    assert Fraction(total_bound(bounds, units)) <= exact
    size = sum(abs(bound / unit) for bound, unit in pairs)
    assert exact - Fraction(total_bound(bounds, units)) <= Fraction(1e-15 * size + 1e-320)


def test_one_missing_bound_leaves_none() -> None:
    assert total_bound([1.0, -math.inf, 2.0]) == -math.inf
    assert total_bound([1.0, -math.inf], [2.0, 3.0]) == -math.inf
    assert total_bound([]) == 0.0
    assert sum_below(1e308, 1e308, -math.inf) == -math.inf
    assert sum_below(math.nan, -math.inf) == -math.inf
    assert sum_below(-1e308, -1e308) == -math.inf


BOUNDS = [0.1, 0.2]
"""0.1 + 0.2 is rounded upwards to nearest."""
EXACT = Fraction(0.1) + Fraction(0.2)


def test_where_bounds_of_blocks_are_added() -> None:
    from cbs_opt.cli import compare
    from cbs_opt.report.measures.network import aggregate
    from cbs_opt.study import result

    assert Fraction(sum(BOUNDS)) > EXACT
    rows = [
        SimpleNamespace(
            method="m",
            objective=1.0,
            selection_objective=1.0,
            bound=bound,
            gap=0.5,
            n=2,
            pruned=1,
            proven=False,
            seconds=0.0,
            unit=1.0,
        )
        for bound in BOUNDS
    ]

    class Table:
        def __init__(self, row: SimpleNamespace) -> None:
            self.rows = [row]

        def __getitem__(self, _: str) -> SimpleNamespace:
            return self.rows[0]

    compared = compare._sum([Table(row) for row in rows], [1.0, 1.0])[0]["bound"]  # type: ignore[misc]
    for row in rows:
        row.row = row
    studied = result._summary(0.5, "m", rows, False).bound  # type: ignore[arg-type]
    reported = aggregate(np.ones(2), np.array(BOUNDS), np.zeros(2, dtype=bool)).bound
    for found in (compared, studied, reported):
        assert Fraction(found) <= EXACT < Fraction(math.nextafter(found, math.inf))


@pytest.mark.parametrize(
    "module", ["blocks.assemble", "pruning.layerwise", "study.result", "cli.compare", "report.measures.network"]
)
def test_there_is_one_sum(module: str) -> None:
    from importlib import import_module

    assert import_module(f"cbs_opt.{module}").total_bound is total_bound
