"""Budgets: the laws of patterns at any scale of the costs, one budget and several, and what is refused."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cbs_opt import Budget
from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns.knapsack import FEW, SUMMED, Knapsack, _by_table
from cbs_opt.kernel.patterns.program import Program
from cbs_opt.kernel.patterns.rows import ROUND_OFF
from cbs_opt.testing import check_pattern

SEEDS = st.integers(0, 2**32 - 1)


def budget_of(rng: np.random.Generator) -> Budget | None:
    """Whole or real costs of weights or groups, under one budget or two; None where what is forced costs too much."""
    n = int(rng.integers(1, 7))
    groups = int(rng.integers(1, n + 1))
    units = rng.permutation(np.concatenate([np.arange(groups), rng.integers(0, groups, n - groups)]))
    shape = (int(rng.integers(1, 3)), groups)
    costs = rng.integers(0, 5, shape) * 1.0 if rng.random() < 0.5 else rng.exponential(size=shape)
    costs *= rng.choice([1e-9, 0.1, 1.0, 1e9])
    roles = rng.integers(0, 6, n)
    keep, forbid = np.flatnonzero(roles == 0), np.flatnonzero(roles == 1)
    try:
        return Budget(costs, costs.sum(axis=1) * rng.random(len(costs)), groups=units, keep=keep, forbid=forbid)
    except PatternError:
        return None


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_laws_of_patterns(seed: int) -> None:
    pattern = budget_of(np.random.default_rng(seed))
    assume(pattern is not None)
    assert pattern is not None
    check_pattern(pattern, seed, draws=2)


def test_the_relaxed_choice_is_the_one_by_worth_per_cost() -> None:
    """Rates 5, 3, 2 and an item that never fits: λ = 2, of the third item a third fits, and L = 2·4 + 3 + 2 = 13."""
    knapsack, worth = Knapsack(np.array([[1.0, 2.0, 3.0, 9.0]]), np.array([4.0])), np.array([5.0, 6.0, 6.0, 100.0])
    found = knapsack.relaxed(worth)
    assert found.d.tolist() == [3.0, 2.0, 0.0, 0.0]
    np.testing.assert_allclose(found.x, [1.0, 1.0, 1.0 / 3.0, 0.0], rtol=1e-15)
    assert 13.0 <= found.value <= 13.0 + 1e-11
    chosen, most = knapsack.best(worth)
    assert worth[chosen].sum() == 11.0  # of the whole choices within 4, two are worth 5 + 6
    assert 11.0 <= most <= 11.0 + 1e-11


@pytest.mark.parametrize(
    ("costs", "room", "worth", "best"),
    [
        ([[0.375, 0.25, 0.25]], [0.5], [5, 3, 3], 6),  # less room than 1
        ([[6, 4, 4]], [9], [5, 3, 3], 6),  # in steps of 2
        ([[3, 2.5, 1.5]], [3.5], [5, 4, 3], 5),  # some whole, some not
        ([[3, 2, 2], [1, 3, 1]], [4, 3], [5, 3, 3], 5),  # the second budget leaves no room for both 3
        ([[3, 2, 2], [1, 2, 1]], [4, 3], [5, 3, 3], 6),
        ([[3, 2, 2, 5]], [4], [5, 3, 3, 90], 6),  # the last never fits
        ([[0, 3, 2, 2]], [4], [1, 5, 3, 3], 7),  # the first costs nothing
        ([[3, 2, 2], [0, 0, 0]], [4, 0], [5, 3, 3], 6),  # the second budget is spent
        ([[3 * 2.0**70, 2 * 2.0**70, 2 * 2.0**70]], [4 * 2.0**70], [5, 3, 3], 6),  # whole, beyond 64 bits
    ],
)
def test_the_dearest_item_is_not_always_the_best(costs: Any, room: Any, worth: Any, best: float) -> None:
    """The first choice by worth per cost leaves room that two lesser items use better; the sums are done by hand."""
    costs, room, worth = np.array(costs, dtype=float), np.array(room, dtype=float), np.array(worth, dtype=float)
    chosen, most = Knapsack(costs, room).best(worth)
    assert worth[chosen].sum() == best
    assert (costs[:, chosen].sum(axis=1) <= room).all()
    assert best <= most <= best + 1e-8


@pytest.mark.parametrize("scale", [1.0, 2.0**-10])
def test_bounds_with_one_item_decided_are_those_of_dantzig(scale: float) -> None:
    """Weight 5 is forced; of the others λ = 2 and L = 2·3 + 3 + 2 = 11, and d = (3, 2, 0, −2); the fifth never fits."""
    pattern = Budget([1, 2, 3, 2, 4, 1], 4, keep=[5])
    scores = scale * np.array([5.0, 6.0, 6.0, 2.0, 9.0, 7.0])
    kept = scale * np.array([18, 18, 18, 16, -np.inf, 18])
    pruned = scale * np.array([15, 16, 18, 18, 18, -np.inf])
    z = pattern.argmax(scores)
    assert z.tolist() == [True, True, False, False, False, True]
    flips, found = pattern.flip_values(scores, z), pattern.relaxed(scores)
    expected = [(flips, np.where(z, pruned, kept)), (found.kept, kept), (found.pruned, pruned)]
    for values, exact in expected:
        assert (values >= exact).all()
        np.testing.assert_allclose(values, exact, rtol=1e-9)
    assert found.z.tolist() == z.tolist()
    assert 18.0 * scale <= found.most <= (18.0 + 1e-9) * scale
    assert pattern.fits(np.array([True, True, False, False, False, True]))
    assert not pattern.fits(np.array([True, True, False, False, True, True]))


def test_two_choices_that_differ_in_the_last_digits() -> None:
    """One of the two items fits, and the dearer one is worth more by 64 units in the last place."""
    worth = np.array([1.0, 1.0 + SUMMED])
    chosen, most = Knapsack(np.array([[1.0, 2.0]]), np.array([2.0])).best(worth)
    assert chosen.tolist() == [False, True]
    assert most >= worth[1]


def test_several_budgets_are_relaxed_together() -> None:
    """The second budget binds: the first item and a third of the other, 4 + 3/3; the first alone would let both in."""
    found = Knapsack(np.array([[1.0, 1.0], [2.0, 3.0]]), np.array([9.0, 3.0])).relaxed(np.array([4.0, 3.0]))
    np.testing.assert_allclose(found.x, [1.0, 1.0 / 3.0], rtol=1e-9)
    assert 5.0 <= found.value <= 5.0 + 1e-9


def test_a_poor_point_of_the_solver_leaves_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """No item is a poor choice, worth less than the first alone; two are worth 6."""
    monkeypatch.setattr(Program, "best", lambda self, scores: (np.zeros(len(scores)), 100.0))
    worth = np.array([5.0, 3.0, 3.0])
    chosen, most = Knapsack(np.array([[0.375, 0.25, 0.25]]), np.array([0.5])).best(worth)
    assert worth[chosen].sum() == 5.0
    assert 6.0 <= most <= 6.5 + 1e-11  # L = 12·0.5 + 0.5


def test_a_point_of_the_solver_that_exceeds_a_budget_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Program, "best", lambda self, scores: (np.ones(len(scores)), 100.0))
    costs, room = np.array([[1.0, 1.0, 1.0], [3.0, 2.0, 2.0]]), np.array([3.0, 4.0])
    chosen, _ = Knapsack(costs, room).best(np.array([5.0, 3.0, 3.0]))
    assert (costs[:, chosen].sum(axis=1) <= room).all()


def test_a_table_is_not_below_the_sum_of_many_numbers() -> None:
    """A thousand times 0.1 is more than 100, but less where it is added up in float64."""
    assert sum([0.1] * 1000) < 100 < 1000 * Fraction(0.1)
    chosen, most = _by_table(np.full(1000, 0.1), np.ones(1000, dtype=np.int64), 1000)
    assert chosen.all()
    assert 1000 * Fraction(0.1) <= Fraction(most) <= 100 + Fraction(1, 10**9)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.booleans(), st.sampled_from([FEW, 2 * FEW]))
def test_the_core_holds_the_optimum_of_all_items(seed: int, whole: bool, items: int) -> None:
    """Against the mixed-integer program of all items at once, with as many items as are solved first, and with more."""
    rng = np.random.default_rng(seed)
    costs = rng.integers(1, 40, (1, items)) * 1.0 if whole else rng.exponential(size=(1, items))
    room = np.floor(costs.sum(axis=1) * rng.uniform(0.1, 0.9))
    worth = rng.exponential(size=items)
    chosen, most = Knapsack(costs, room).best(worth)
    x, bound = Program(Knapsack.table(costs, room)).best(worth)
    assert x is not None
    assert costs[0, chosen].sum() <= room[0] * (1 + 1e-11)
    assert worth[chosen].sum() == pytest.approx(worth @ x, rel=1e-9)
    assert most >= worth @ x * (1 - 1e-12)
    assert most <= bound * (1 + 1e-8)


def test_whole_costs_of_any_size_are_met_exactly() -> None:
    flops = np.array([3_000_000_001, 2_000_000_000, 1_000_000_000])
    pattern = Budget(flops, 3_000_000_000)
    assert not pattern.contains(np.array([True, False, False]))
    assert pattern.argmax(np.array([9.0, 1.0, 1.0])).tolist() == [False, True, True]


def test_round_off_in_costs_is_forgiven() -> None:
    assert 0.1 + 0.1 + 0.1 > 0.3
    assert Budget([0.1, 0.1, 0.1], 0.3).contains(np.ones(3, dtype=bool))


def test_weights_that_score_nothing_are_kept_where_there_is_room() -> None:
    assert Budget([1, 1, 1, 3], 3).argmax(np.zeros(4)).sum() == 3
    assert Budget([[1, 1, 1], [0, 1, 2]], [3, 1]).argmax(np.array([0.0, 0.0, 1.0])).tolist() == [True, True, False]


def test_relief_is_the_part_of_the_excess_that_a_weight_costs() -> None:
    """All cost 1.5, which is 0.5 too much: the first costs half of that, and each of the others all of it or more."""
    pattern = Budget([0.25, 0.5, 0.75], 1)
    np.testing.assert_allclose(pattern.relief(np.ones(3, dtype=bool)), [0.5, 1.0, 1.0], rtol=1e-9)
    assert pattern.relief(np.array([True, False, True])).tolist() == [0.0, 0.0, 0.0]


def test_a_budget_of_a_single_weight() -> None:
    assert Budget([2], 2).argmax(np.ones(1)).tolist() == [True]
    assert Budget([2], 1).argmax(np.ones(1)).tolist() == [False]


def test_words() -> None:
    assert str(Budget([1, 2, 3], 3.5)) == "keep weights that cost at most 3.5 of 6"
    assert str(Budget([[1, 2], [3, 4]], [2, 5], keep=[0])) == (
        "keep weights that cost at most 2 of 3 and 5 of 7, 1 forced to stay"
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Budget([1, 2], -1), "budget: holds -1.0; finite numbers, 0 or more"),
        (lambda: Budget([1, -2], 1), "costs: holds -2.0"),
        (lambda: Budget([1, np.inf], 1), "costs: holds inf"),
        (lambda: Budget(["a"], 1), "costs: give numbers"),
        (lambda: Budget([[1, 2], [1, 2]], [1]), "give one budget for each row of costs"),
        (lambda: Budget([1, 2, 3], 1, groups=[0, 1, 1]), "costs: there are 3 for 2 groups"),
        (lambda: Budget([], 1), "costs: there are 0 for 0 groups"),
        (lambda: Budget([[1, 2], [1, 2]], [2, 1], keep=[1]), "forced to stay costs 2, but the budget is 1"),
        (lambda: Budget([1, 2, 3], 2, keep=[2]), "forced to stay costs 3, but the budget is 2; force fewer or raise"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make: Any, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        make()


def least_budget(costs: Vector, mask: Mask) -> float:
    """The least budget that allows the mask, found float by float."""
    budget = (costs[mask].sum() - ROUND_OFF * costs.sum()) / (1.0 + ROUND_OFF)
    for _ in range(12):
        budget = np.nextafter(budget, 0.0)
    while not Budget(costs, budget).contains(mask):
        budget = np.nextafter(budget, np.inf)
    return float(budget)


@pytest.mark.parametrize("seed", range(40))
def test_a_mask_at_the_very_limit_is_covered_by_the_upper_bound(seed: int) -> None:
    """The least budget that lets all weights of a mask stay, where rounding decides."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 40))
    costs, mask = rng.uniform(0.1, 1.0, n), rng.random(n) < 0.7
    mask[0] = True
    if seed % 2:
        costs[0] *= 10.0 ** rng.integers(0, 9)
    budget = least_budget(costs, mask)
    pattern = Budget(costs, budget)
    scores = np.where(mask, rng.uniform(1.0, 2.0, n), 0.0)
    forced = pattern.fixed(np.arange(n) == 0, np.zeros(n, dtype=bool))
    for one in (pattern, forced):
        assert one.contains(mask)
        assert one.most(scores) >= math.fsum(scores)
        assert one.contains(one.argmax(scores))
    below = Budget(costs, np.nextafter(budget, 0.0))
    assert below.contains(below.argmax(scores))


def test_costs_beyond_float64_exceed_every_budget() -> None:
    with np.errstate(over="ignore"):
        assert not Budget([1e308, 1e308], 1e308).contains(np.ones(2, dtype=bool))


def test_whole_costs_too_large_for_float64_are_rounded_as_others_are() -> None:
    """Both together cost 1 more than the limit, which float64 cannot tell: they are allowed, and the bound has both."""
    first, second = 2.0**53 - 1.0, 2.0**52 + 2.0
    assert Fraction(first) + Fraction(second) == Fraction(1.5 * 2.0**53) + 1
    pattern = Budget([first, second], 1.5 * 2.0**53 - 12.0, keep=[0])
    assert pattern.contains(np.ones(2, dtype=bool))
    assert pattern.most(np.ones(2)) >= 2.0


def test_a_budget_of_whole_and_other_costs_is_rounded() -> None:
    """Both cost 1.125 to the last float and 2⁻⁵⁴ more, so that the second exceeds what the first leaves."""
    costs, both = np.array([1.0, 0.125 + 2.0**-54]), np.ones(2, dtype=bool)
    assert costs.sum() == 1.125 < Fraction(costs[0]) + Fraction(costs[1])
    pattern = Budget(costs, least_budget(costs, both), keep=[0])
    assert pattern.contains(both)
    assert pattern.most(np.ones(2)) >= 2.0
