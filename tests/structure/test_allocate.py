"""The allocator against enumeration, and what it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cbs_opt.errors import InputError, PatternError
from cbs_opt.structure.allocate import allocate


def drawn(seed: int, whole: bool) -> tuple[list[Any], list[Any], dict[tuple[int, int], Any]]:
    """Falling curves, rising costs, and costs of some pairs; whole numbers have many ties."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, rng.integers(1, 5))
    curves = [np.sort(rng.gamma(0.5, size=size))[::-1] * 10.0 ** rng.integers(-6, 6) for size in sizes]
    costs = [np.sort(rng.integers(0, 9, size) if whole else rng.random(size)).astype(float) for size in sizes]
    chosen = [pair for pair in itertools.combinations(range(len(sizes)), 2) if rng.random() < 0.6]
    levels = [np.arange(1, size + 1) for size in sizes]
    pairs = {(s, t): rng.integers(1, 4) * np.outer(levels[s], levels[t]).astype(float) for s, t in chosen}
    return curves, costs, pairs


def every(curves: list[Any], costs: list[Any], pairs: dict[tuple[int, int], Any]) -> list[tuple[float, float]]:
    """(cost, loss) of all combinations of levels."""
    found = []
    for levels in itertools.product(*(range(len(part)) for part in curves)):
        cost = sum(part[i] for part, i in zip(costs, levels, strict=True))
        cost += sum(both[levels[s], levels[t]] for (s, t), both in pairs.items())
        found.append((float(cost), float(sum(part[i] for part, i in zip(curves, levels, strict=True)))))
    return found


@given(st.integers(0, 10_000), st.booleans(), st.floats(0.0, 1.0))
@example(659, False, 0.0)  # ``sum`` of Python 3.12 and later is an ulp above this budget
@example(659, False, 0.75)
def test_the_levels_are_the_best_within_the_budget(seed: int, whole: bool, share: float) -> None:
    curves, costs, pairs = drawn(seed, whole)
    table = every(curves, costs, pairs)
    ascending = sorted(cost for cost, _ in table)
    budget = max(ascending[int(share * (len(ascending) - 1))], 1e-3)
    best = min(loss for cost, loss in table if cost <= budget) if ascending[0] <= budget else None
    if best is None:
        with pytest.raises(PatternError, match=r"^budget: nothing costs at most"):
            allocate(curves, costs, budget, pairs)
        return
    found = allocate(curves, costs, budget, pairs)
    scale = max(float(part.max()) for part in curves)
    assert found.cost <= budget
    assert found.bound <= best
    assert found.loss == pytest.approx(best, abs=2e-6 * max(scale, best))
    assert found.bound >= best - 1e-5 * max(scale, best)
    assert (found.cost, found.loss) in [
        (pytest.approx(cost, rel=1e-12), pytest.approx(loss, rel=1e-12)) for cost, loss in table
    ]


@pytest.mark.parametrize(
    ("curves", "costs", "budget", "pairs", "words"),
    [
        ([], [], 1.0, {}, "one loss and one cost"),
        ([[1.0, 0.0]], [[1.0]], 1.0, {}, "one loss and one cost"),
        ([[1.0, np.nan]], [[1.0, 2.0]], 1.0, {}, "NaN or infinity"),
        ([[1.0]], [[1.0]], 0.0, {}, "must be positive"),
        ([[1.0], [1.0]], [[1.0], [1.0]], 3.0, {(0, 1): [[1.0, 2.0]]}, r"\(0, 1\) has costs of shape \(1, 2\)"),
        ([[1.0]], [[1.0]], 3.0, {(0, 0): [[1.0]]}, r"\(0, 0\)"),
    ],
)
def test_bad_input_is_one_sentence(curves: Any, costs: Any, budget: float, pairs: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        allocate(curves, costs, budget, pairs)
