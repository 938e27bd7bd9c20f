"""The key of a result: two results with one key are the same question."""

from __future__ import annotations

import pytest

from cbs_opt.store import result_key


def test_a_key_tells_apart_what_differs() -> None:
    one = ("aa", "bnb", "sparsity 0.5", None, {"gap": 1e-4})
    others = [
        ("ab", *one[1:]),
        ("aa", "cbs", *one[2:]),
        (*one[:2], "prune 5", None, {}),
        (*one[:3], 0, one[4]),
        (*one[:4], {"gap": 1e-3}),
        (*one[:4], {}),
    ]
    assert len({result_key(*what) for what in (one, *others)}) == len(others) + 1


def test_a_key_does_not_see_limits_nor_the_order_of_options() -> None:
    assert result_key("a", "m", "p", 1, {"x": 1, "y": 2}) == result_key(
        "a", "m", "p", 1, {"y": 2, "x": 1, "time_limit": 5.0}
    )


def test_a_key_sees_the_version_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    import cbs_opt.version

    monkeypatch.setattr(cbs_opt.version, "__version__", "1.2.3")
    first = result_key("a", "m", "p", None, {})
    monkeypatch.setattr(cbs_opt.version, "__version__", "1.2.4")
    assert result_key("a", "m", "p", None, {}) == first
    monkeypatch.setattr(cbs_opt.version, "__version__", "1.3.0")
    assert result_key("a", "m", "p", None, {}) != first
