"""Seconds for the bounds of a network, divided over its layers."""

from __future__ import annotations

import pytest

from cbs_opt.errors import InputError
from cbs_opt.pruning.bound_time import BoundTime


def test_what_a_layer_leaves_is_there_for_those_behind_it():
    budget = BoundTime(60.0, 600)
    assert budget.share(100) == pytest.approx(10.0)
    budget.charge(100, 5.0)
    assert budget.share(100) == pytest.approx(11.0)  # 55 s for 500 weights
    budget.charge(100, 33.0)
    budget.skip(200)  # of the 22 s for 400 weights half are gone
    assert budget.share(100) == pytest.approx(5.5)
    budget.charge(100, 500.0)
    assert budget.share(100) == 0.0


def test_no_limit():
    budget = BoundTime(None, 10)
    budget.charge(5, 100.0)
    budget.skip(2)
    assert budget.share(3) is None


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), True, "3"])
def test_no_number_of_seconds(seconds):
    with pytest.raises(InputError, match=r"bound_time: is .* a number of seconds, at least 0, is needed"):
        BoundTime(seconds, 10)
