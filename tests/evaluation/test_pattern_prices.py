"""What a pattern costs: intervals and prices against enumeration; masks and bounds that patterns share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cbs_opt import Cardinality, Groups, Pattern, PruningProblem, Quotas, RowsCurvature, obs_update
from cbs_opt.errors import BoundViolationError, InputError, PatternError, UnsupportedError
from cbs_opt.evaluation import catalogue
from cbs_opt.evaluation.pattern_prices import PatternPrices, compare_patterns, total_prices
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.result import Outcome

WORDS = ["2:4", "sparsity 0.5", "4:8", "1:4", "blocks-of-4 0.5"]
"""On eight weights; 2:4 is not the first, so that the cheapest is not found by its place."""


def block(seed: int, n: int = 8) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((20, n)) @ rng.standard_normal((n, n))
    return PruningProblem.from_activations(rng.standard_normal(n), X, dampening_frac=0.01, name=f"row {seed}")


def least(problem: PruningProblem, pattern: Pattern) -> float:
    """The least loss under a pattern, by trying all masks."""
    masks = (np.array(z, dtype=bool) for z in np.ndindex(*(2,) * problem.n))
    return min(problem.objective(obs_update(problem, z)) for z in masks if pattern.contains(z))


def stub(monkeypatch: pytest.MonkeyPatch, name: str, run: Any, kind: type[Pattern] = Pattern) -> None:
    spec = MethodSpec(name, run, "", exact=False, objective=Objective.JOINT, reference="", patterns=(kind,))
    monkeypatch.setitem(catalogue._EXTRA, name, spec)


PATTERNS: dict[str, Pattern] = {
    "2:4": Quotas.n_of_m(8, 2, 4),
    "sparsity 0.5": Cardinality(8, 4),
    "4:8": Quotas.n_of_m(8, 4, 8),
    "1:4": Quotas.n_of_m(8, 1, 4),
    "blocks-of-4 0.5": Groups.of_blocks(8, 4, 0.5),
}


@pytest.mark.parametrize("seed", range(4))
def test_intervals_and_prices_hold_what_enumeration_finds(seed: int) -> None:
    problem = block(seed)
    optima = {name: least(problem, pattern) for name, pattern in PATTERNS.items()}
    for methods in (["magnitude"], ["enumeration"]):
        prices = compare_patterns(problem, WORDS, methods)
        assert [price.pattern for price in prices.prices] == WORDS
        base = optima[prices.cheapest]
        for price in prices.prices:
            optimum = optima[price.pattern]
            assert price.bound <= optimum <= price.objective * (1 + 1e-12)
            cost = optimum / base - 1
            assert price.at_least <= cost + 1e-12
            assert cost <= price.at_most + 1e-12
    assert prices.cheapest in ("sparsity 0.5", "4:8")  # on eight weights the same
    for price in prices.prices:
        assert price.objective == pytest.approx(optima[price.pattern], rel=1e-9)
        assert price.at_most - price.at_least <= 1e-5
        assert price.gap <= 1e-5


def test_words_and_patterns_are_the_same_question() -> None:
    problem = block(0)
    words = compare_patterns(problem, WORDS, ["magnitude", "woodfisher"])
    named = compare_patterns(problem, PATTERNS, ["magnitude", "woodfisher"])
    assert [p.to_dict() for p in words.prices] == [p.to_dict() for p in named.prices]
    with pytest.raises(KeyError):
        words["8:16"]


def test_a_mask_of_a_stricter_pattern_is_one_of_a_looser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that is good at 2:4 and at nothing else serves all patterns that its mask lies in."""
    problem = block(1)
    best = least(problem, PATTERNS["2:4"])

    def specialist(problem: PruningProblem) -> Outcome:
        masks = [np.array(z, dtype=bool) for z in np.ndindex(*(2,) * problem.n)]
        allowed = [z for z in masks if problem.Z.contains(z)]
        if len(problem.Z.rows().b) != 2:
            return Outcome(np.zeros(problem.n, dtype=bool))
        return Outcome(min(allowed, key=lambda z: problem.objective(obs_update(problem, z))))

    stub(monkeypatch, "specialist", specialist)
    prices = compare_patterns(problem, ["2:4", "sparsity 0.5", "1:4"], ["specialist"])
    assert prices["sparsity 0.5"].objective == prices["2:4"].objective == pytest.approx(best)
    assert (prices["sparsity 0.5"].method, prices["sparsity 0.5"].found_under) == ("specialist", "2:4")
    assert prices["1:4"].objective > best  # its mask keeps four
    assert prices["2:4"].found_under == "2:4"


def test_a_bound_of_a_looser_pattern_is_one_of_a_stricter(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = block(2)
    half = least(problem, PATTERNS["sparsity 0.5"])

    def prover(problem: PruningProblem) -> Outcome:
        known = problem.Z.most(np.ones(8)) == 4 and problem.Z.contains(np.arange(8) < 4)
        return Outcome(problem.Z.argmax(problem.w_bar**2), bound=0.999 * half if known else 0.0)

    stub(monkeypatch, "prover", prover)
    prices = compare_patterns(problem, ["sparsity 0.5", "2:4", "blocks-of-4 0.5", "sparsity 0.25"], ["prover"])
    assert prices["2:4"].within == ("sparsity 0.5", "sparsity 0.25")
    for name in ("2:4", "blocks-of-4 0.5"):
        assert (prices[name].bound, prices[name].bound_under) == (0.999 * half, "sparsity 0.5")


def test_a_bound_above_the_loss_of_another_patterns_mask_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = block(3)
    strict = least(problem, PATTERNS["1:4"])

    def liar(problem: PruningProblem) -> Outcome:
        single = len(problem.Z.rows().b) == 1
        mask = np.zeros(8, dtype=bool) if single else problem.Z.argmax(problem.w_bar**2)
        return Outcome(mask, bound=0.999 * problem.objective(np.zeros(8)) if single else 0.0)

    assert strict < problem.objective(np.zeros(8)) * 0.9
    stub(monkeypatch, "liar", liar)
    with pytest.raises(BoundViolationError, match="bug in the bound"):
        compare_patterns(problem, ["sparsity 0.5", "2:4"], ["liar"])


def test_where_the_loss_can_be_zero_or_negative_no_price_is_proven() -> None:
    problem = block(4)
    free = compare_patterns(problem, ["sparsity 0", "2:4"], ["enumeration"])
    assert free.cheapest == "sparsity 0"
    assert free["sparsity 0"].objective == 0.0
    assert (free["2:4"].at_least, free["2:4"].at_most) == (0.0, math.inf)  # it lies within, so it is not cheaper
    assert free["2:4"].to_dict()["at_most"] is None
    shifted = PruningProblem(problem.w_bar, problem.curvature, offset=-1e6)
    below = compare_patterns(shifted, ["sparsity 0.5", "blocks-of-4 0.5"], ["magnitude"])
    (other,) = (price for price in below.prices if price.pattern != below.cheapest)
    assert (other.at_least, other.at_most) in ((0.0, math.inf), (-math.inf, math.inf))


def test_a_pattern_that_is_no_part_of_the_cheapest_may_be_cheaper_for_all_that_is_proven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stub(monkeypatch, "trivial", lambda problem: Outcome(problem.Z.argmax(np.ones(8)), bound=1e-9))
    prices = compare_patterns(block(5), {"first": Quotas([4, 4], [4, 0]), "last": Quotas([4, 4], [0, 4])}, ["trivial"])
    (other,) = (price for price in prices.prices if price.pattern != prices.cheapest)
    assert other.within == ()
    assert -1 <= other.at_least < 0 < other.at_most


def test_the_sum_of_blocks_has_the_price_of_sums() -> None:
    blocks = [block(seed) for seed in range(3)]
    units = [problem.objective(np.zeros(8)) for problem in blocks]
    names = ["2:4", "sparsity 0.5"]
    parts = [compare_patterns(problem, names, ["enumeration"]) for problem in blocks]
    total = total_prices("together", parts, units)
    sums = {
        name: sum(least(problem, PATTERNS[name]) / unit for problem, unit in zip(blocks, units, strict=True))
        for name in names
    }
    assert total.cheapest == "sparsity 0.5"
    cost = sums["2:4"] / sums["sparsity 0.5"] - 1
    assert total["2:4"].at_least <= cost <= total["2:4"].at_most
    assert total["2:4"].at_most - total["2:4"].at_least <= 1e-5
    assert total["2:4"].objective == pytest.approx(sums["2:4"])
    assert (total["2:4"].n, total["2:4"].method, total["2:4"].within) == (24, "enumeration", ("sparsity 0.5",))


def test_a_layer_is_priced_by_heuristics_and_the_bound_of_its_rows() -> None:
    rng = np.random.default_rng(7)
    X = rng.standard_normal((200, 32))
    H = X.T @ X / 200 + 0.05 * np.eye(32)
    layer = PruningProblem(rng.standard_normal(12 * 32), RowsCurvature(H, 12), name="layer")
    seen: list[tuple[str, str]] = []

    def watch(pattern: str, method: str) -> None:
        seen.append((pattern, method))

    names = ["sparsity 0.5", "quota-per-row 0.5", "16:32", "2:4"]
    prices: PatternPrices = compare_patterns(layer, names, ["admm", "swap"], on_row=watch, time_limit=2.0)
    assert seen[:3] == [("sparsity 0.5", "admm"), ("sparsity 0.5", "swap"), ("sparsity 0.5", "lower_bound")]
    assert [pattern for pattern, method in seen if method == "lower_bound"] == names
    assert prices.cheapest == "sparsity 0.5"
    assert prices["2:4"].within == ("sparsity 0.5", "quota-per-row 0.5", "16:32")
    values = [price.objective for price in prices.prices]
    bounds = [price.bound for price in prices.prices]
    assert values == sorted(values)
    assert bounds == sorted(bounds)
    assert 0 < prices["2:4"].at_least <= prices["2:4"].objective / prices["sparsity 0.5"].objective - 1


def test_what_cannot_be_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Mask] = []
    stub(monkeypatch, "watched", lambda problem: ran.append(problem.Z.free))
    stub(monkeypatch, "narrow", lambda problem: ran.append(problem.Z.free), Cardinality)
    problem = block(0)
    with pytest.raises(InputError, match="patterns: none is given"):
        compare_patterns(problem, [], ["watched"])
    with pytest.raises(PatternError, match="5 does not divide the 8 weights"):
        compare_patterns(problem, ["2:4", "2:5"], ["watched"])
    with pytest.raises(UnsupportedError, match="method narrow: cannot take the pattern Quotas"):
        compare_patterns(problem, ["sparsity 0.5", "2:4"], ["watched", "narrow"])
    assert ran == []
