"""Arrays at the border: finite, of the right shape, or one sentence that names field and entry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import frozen, rounded_up
from cbs_opt.kernel.arrays.validate import as_array, as_mask, as_nonnegative


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_by_its_index(bad: float) -> None:
    values = np.ones((3, 4))
    values[1, 2] = bad
    with pytest.raises(InputError, match=r"X: entry \(1, 2\) is (nan|inf|-inf)"):
        as_array(values, "X", 2)
    with pytest.raises(InputError, match="w: entry 2 is"):
        as_array(values[1], "w", 1)


def test_large_finite_values_whose_sum_overflows_are_taken() -> None:
    assert as_array(np.full(4, 1e308), "w", 1)[0] == 1e308


@pytest.mark.parametrize(
    ("value", "ndim", "message"),
    [
        (np.ones((2, 2)), 1, r"has shape \(2, 2\); one axis"),
        (np.ones(0), 1, "is empty"),
        (["a", "b"], 1, "give real numbers"),
        (np.ones(2, dtype=complex), 1, "give real numbers"),
        ([[1.0], [1.0, 2.0]], 2, "not an array of numbers"),
        (None, 1, "give real numbers"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(value: Any, ndim: int, message: str) -> None:
    with pytest.raises(InputError, match=f"^w: {message}|^w: .*{message}"):
        as_array(value, "w", ndim)


def test_contiguous_float64_is_taken_without_a_copy_and_frozen_is_a_read_only_view() -> None:
    values = np.ones(3)
    assert as_array(values, "w", 1) is values
    view = frozen(values)
    assert view.base is values
    assert values.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 2.0


def test_masks_are_booleans_or_zeros_and_ones() -> None:
    assert as_mask([1, 0, 1], "mask", 3).tolist() == [True, False, True]
    assert as_mask(np.array([1.0, 0.0]), "mask", 2).dtype == np.bool_
    for wrong in ([1, 2, 0], [0.5, 1, 0], [np.nan, 1, 0], ["a", "b", "c"]):
        with pytest.raises(InputError, match="other than 0 and 1"):
            as_mask(wrong, "mask", 3)
    with pytest.raises(InputError, match=r"has shape \(2,\); a mask of shape \(3,\)"):
        as_mask([1, 0], "mask", 3)
    with pytest.raises(InputError, match="not an array"):
        as_mask([[1], [1, 0]], "mask", 2)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, "x", None])
def test_damping_is_a_finite_number_not_below_zero(bad: Any) -> None:
    with pytest.raises(InputError, match=r"^damping: is .* ≥ 0 is needed"):
        as_nonnegative(bad, "damping")


@given(st.floats(1e-280, 1e280))
def test_rounding_up_never_goes_below_and_is_exactly_what_is_printed(value: float) -> None:
    up = rounded_up(value)
    assert value <= up <= value * 1.011
    assert float(f"{up:.3g}") == up
