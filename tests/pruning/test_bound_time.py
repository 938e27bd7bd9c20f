"""Seconds for the bounds of a network, divided over its layers."""

from __future__ import annotations

import pytest

from cbs_opt.errors import InputError
from cbs_opt.pruning import bound_time
from cbs_opt.pruning.bound_time import BoundTime


def test_what_a_layer_leaves_is_there_for_those_behind_it(monkeypatch):
    now = 100.0
    monkeypatch.setattr(bound_time.time, "perf_counter", lambda: now)
    budget = BoundTime(60.0, 600)
    with budget.layer(100) as share:
        assert share == pytest.approx(10.0)
        now += 5.0
    with budget.layer(100) as share:  # 55 s for 500 weights
        assert share == pytest.approx(11.0)
        now += 33.0
    budget.skip(200)  # of the 22 s for 400 weights half are gone
    with budget.layer(100) as share:
        assert share == pytest.approx(5.5)
        now += 500.0
    with budget.layer(100) as share:
        assert share == 0.0


def test_no_limit():
    with BoundTime(None, 10).layer(10) as share:
        assert share is None


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), True, "3"])
def test_no_number_of_seconds(seconds):
    with pytest.raises(InputError, match=r"bound_time: is .* a number of seconds, at least 0, is needed"):
        BoundTime(seconds, 10)
