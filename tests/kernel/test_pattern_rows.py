"""Patterns as linear rows: their tolerances, their units, and several of them side by side, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from cbs_opt.kernel.patterns.rows import Named, Rows, largest_entries, limits, of_order_one, together


def test_only_rows_of_whole_numbers_have_no_tolerance() -> None:
    """2 + 3 + |b| numbers of whole variables round b down; 1e-12 of the sum of all numbers is forgiven elsewhere."""
    A = csr_array(np.array([[2.0, 3.0, 0.0], [2.0, 3.0, 0.0], [0.5, -1.0, 0.0], [0.0, 1.0, 4.0], [0.0, 0.0, 0.0]]))
    b = np.array([4.9, -0.5, 10.0, 7.0, 0.0])
    found = limits(A, b, np.array([True, True, False]))
    assert found.tolist() == [
        4.0,
        -1.0,
        pytest.approx(10.0 + 11.5e-12, abs=1e-14),
        pytest.approx(7.0 + 12e-12, abs=1e-14),
        0,
    ]
    assert (found[2:4] > b[2:4]).all()


@pytest.mark.parametrize("whole", [3.0, -3.0, 1e9])
def test_a_whole_limit_that_round_off_has_lowered_is_whole(whole: float) -> None:
    b = np.array([np.nextafter(whole, -np.inf)])
    assert limits(csr_array(np.ones((1, 2))), b, np.ones(2, dtype=np.bool_)).tolist() == [whole]
    assert limits(csr_array(np.ones((1, 2))), b - 1e-6, np.ones(2, dtype=np.bool_)).tolist() == [whole - 1]


def test_rows_of_unusual_size_are_scaled_by_powers_of_two() -> None:
    """A largest entry from 1e-3 to 1e6 stays; any other becomes a number in [1, 2), and b is scaled with it."""
    A = np.array([[1e-3, 0.0], [1e6, -1.0], [9e-4, -3e-4], [0.0, -3e6], [0.0, 0.0]])
    scaled, b = of_order_one(csr_array(A), np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    unit = np.array([1.0, 1.0, 2.0**11, 2.0**-21, 1.0])  # 9e-4·2048 = 1.84, 3e6/2^21 = 1.43
    np.testing.assert_array_equal(scaled.toarray(), A * unit[:, None])
    assert b.tolist() == [1.0, 2.0, 3.0 * 2.0**11, 4.0 * 2.0**-21, 5.0]
    assert largest_entries(csr_array(A)).tolist() == [1e-3, 1e6, 9e-4, 3e6, 0.0]
    assert largest_entries(csr_array((3, 2))).tolist() == [0.0, 0.0, 0.0]


def test_points_hold_within_rows_and_bounds() -> None:
    rows = Rows.of(
        [[1, 1, 1, 2], [0, 0, 1, -1]],
        [3, 0],
        keep=np.array([True, False, False]),
        forbid=np.array([False, True, False]),
        constraints=[Named("r", 2, "")],
        variables=[Named("y", 1, "")],
    )
    assert (rows.n, rows.own) == (3, 1)
    assert (rows.low.tolist(), rows.high.tolist()) == ([1, 0, 0, 0], [1, 0, 1, 1])
    points = {
        (1, 0, 0, 1): True,
        (1, 0, 0, 0): True,
        (1, 0, 1, 0): False,  # for the second row
        (1, 0, 1, 1): False,  # for the first
        (0, 0, 0, 1): False,  # what is forced is pruned
        (1, 1, 0, 0): False,  # what is forbidden is kept
    }
    assert {point: rows.hold(np.array(point, dtype=np.float64)) for point in points} == points
    free = rows.with_weights(np.zeros(3), np.ones(3))
    assert free.hold(np.array([0.0, 1.0, 0.0, 1.0]))
    assert (free.low.tolist(), free.high.tolist()) == ([0, 0, 0, 0], [1, 1, 1, 1])


def test_parts_side_by_side_have_their_own_variables_and_names() -> None:
    def part(A: list[list[float]], b: list[float], keep: list[bool], forbid: list[bool], name: str, own: int) -> Rows:
        named = [Named(name, len(b), "rows")]
        variables = [Named("y", own, "own")] if own else []
        forced = {"keep": np.array(keep), "forbid": np.array(forbid)}
        return Rows.of(A, b, **forced, constraints=named, variables=variables)

    parts = [
        part([[1, 2, 5]], [1], [True, False], [False, False], "r", 1),
        part([[3, 4]], [2], [False, False], [False, True], "r", 0),
        part([[6, 7, 8, 9], [1, 1, 1, 1]], [3, 4], [False, False], [False, False], "s", 2),
    ]
    both = together(parts)
    assert both.A.toarray().tolist() == [[1, 2, 5, 0, 0], [3, 4, 0, 0, 0], [6, 7, 0, 8, 9], [1, 1, 0, 1, 1]]
    assert both.b.tolist() == [1, 2, 3, 4]
    assert (both.low.tolist(), both.high.tolist()) == ([1, 0, 0, 0, 0], [1, 0, 1, 1, 1])
    assert (both.n, both.own, both.whole.all()) == (2, 3, True)
    assert [(family.name, family.count) for family in both.constraints] == [("r", 1), ("r_2", 1), ("s", 2)]
    assert [(family.name, family.count) for family in both.variables] == [("y", 1), ("y_2", 2)]
