"""The statistics against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbs_opt.errors import BoundViolationError
from cbs_opt.kernel.result import relative_gap
from cbs_opt.report.measures.bounds import best_bounds, broken, gaps, proven
from cbs_opt.report.measures.curves import gap_curve, moments, own_gap, reached
from cbs_opt.report.measures.network import aggregate
from cbs_opt.report.measures.profile import cost_ratios, excess_ratios, profile
from cbs_opt.report.measures.quantiles import quantiles
from cbs_opt.report.measures.sizes import by_size, size_edges
from cbs_opt.report.measures.wins import wins

INF, NAN = math.inf, math.nan


class TestQuantiles:
    def test_by_hand(self) -> None:
        values = np.array([4.0, 1.0, 3.0, 2.0])
        assert quantiles(values, (0, 0.25, 0.5, 0.51, 0.75, 1)) == [1, 1, 2, 3, 3, 4]

    def test_ten_values(self) -> None:
        assert quantiles(np.arange(1.0, 11.0), (0.1, 0.9, 0.99)) == [1, 9, 10]

    def test_infinities_and_nothing(self) -> None:
        assert quantiles(np.array([INF, 1.0, 2.0]), (0.5, 0.9)) == [2, INF]
        assert all(math.isnan(value) for value in quantiles(np.empty(0), (0.5, 1)))

    @given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(0, 1))
    def test_it_is_the_smallest_value_that_covers_the_share(self, values: list[float], share: float) -> None:
        (found,) = quantiles(np.array(values), (share,))
        covered = [sum(other <= value for other in values) / len(values) for value in sorted(values)]
        assert found == next(v for v, c in zip(sorted(values), covered, strict=True) if c >= share * (1 - 1e-12))


class TestProfile:
    """Three problems, two methods; costs 1 2 | 4 1 | 3 ∞."""

    ratios = cost_ratios(np.array([[1.0, 2.0], [4.0, 1.0], [3.0, INF]]))

    def test_ratios(self) -> None:
        assert self.ratios.tolist() == [[1, 2], [4, 1], [1, INF]]

    def test_shares(self) -> None:
        one, two = profile(self.ratios[:, 0]), profile(self.ratios[:, 1])
        assert [one.at(t) for t in (1, 3.9, 4, 100)] == pytest.approx([2 / 3, 2 / 3, 1, 1])
        assert [two.at(t) for t in (1, 1.9, 2, 100)] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])

    def test_what_nobody_solved_counts_against_everybody(self) -> None:
        ratios = cost_ratios(np.array([[1.0, 1.0], [INF, INF]]))
        assert profile(ratios[:, 0]).at(1e9) == 0.5

    def test_never_solved_and_no_problems(self) -> None:
        assert profile(np.array([INF, INF])).at(1e9) == 0
        assert profile(np.empty(0)).at(1e9) == 0
        assert cost_ratios(np.empty((0, 2))).shape == excess_ratios(np.empty((0, 2))).shape == (0, 2)

    def test_objectives_of_any_sign(self) -> None:
        ratios = excess_ratios(np.array([[2.0, 3.0], [-2.0, -1.0], [0.0, 1.0], [NAN, 5.0], [NAN, NAN]]))
        assert ratios.tolist() == [[1, 1.5], [1, 1.5], [1, INF], [INF, 1], [INF, INF]]

    @given(st.lists(st.floats(1, 1e6), min_size=1, max_size=400), st.floats(1, 1e6))
    def test_thinning_never_flatters(self, ratios: list[float], at: float) -> None:
        values = np.array(ratios)
        thin, whole = profile(values, most=10), profile(values, most=10_000)
        assert len(thin.ratios) <= 11
        assert thin.at(at) <= whole.at(at) + 1e-12
        assert whole.at(at) == pytest.approx((values <= at).mean())
        assert thin.at(1e6) == whole.at(1e6)
        assert thin.at(1.0) == whole.at(1.0)


class TestBounds:
    def test_the_best_of_any_method(self) -> None:
        problem = np.array([0, 0, 2])
        assert best_bounds(problem, np.array([1.0, 2.0, -INF]), 3).tolist() == [2, -INF, -INF]

    @pytest.mark.parametrize(
        ("objective", "best", "round_off", "gap", "is_broken"),
        [
            (2.0, 1.0, 0.0, 0.5, False),
            (2.0, 2.0, 0.0, 0.0, False),
            (2.0, -INF, 0.0, INF, False),
            (-1.0, -2.0, 0.0, 1.0, False),
            (2.0, 2.1, 0.0, NAN, True),
            (2.0, 2.1, 0.2, 0.0, False),
            (0.0, -1e-12, 1e-9, 0.0, False),
            (0.0, -1.0, 0.0, INF, False),
            (NAN, 1.0, 0.0, NAN, False),
        ],
    )
    def test_gaps(self, objective: float, best: float, round_off: float, gap: float, is_broken: bool) -> None:
        values = [np.array([value]) for value in (objective, best, round_off)]
        assert gaps(*values)[0] == pytest.approx(gap, nan_ok=True)
        assert broken(*values)[0] == is_broken

    @given(st.floats(-10, 10), st.one_of(st.just(-INF), st.floats(-10, 10)), st.floats(0, 1e-3))
    def test_the_same_rule_as_for_one(self, objective: float, best: float, round_off: float) -> None:
        values = [np.array([value]) for value in (objective, best, round_off)]
        try:
            expected = relative_gap(objective, best, round_off)
        except BoundViolationError:
            assert broken(*values)[0]
        else:
            assert gaps(*values)[0] == expected
            assert not broken(*values)[0]

    def test_an_objective_not_known_to_the_tolerance_is_not_proven(self) -> None:
        objective, best = np.array([1.0, 1.0, 1.0]), np.array([1.0 - 1e-8, 1.0 - 1e-8, 0.9])
        round_off = np.array([0.0, 1e-3, 0.0])
        assert proven(objective, best, round_off, gaps(objective, best, round_off)).tolist() == [True, False, False]


def test_wins_and_ties() -> None:
    problem = np.array([0, 0, 0, 1, 1, 2])
    objective = np.array([1.0, 1.0 + 1e-9, 2.0, 5.0, 4.0, NAN])
    best, alone = wins(problem, objective, np.zeros(6), 3)
    assert best.tolist() == [True, True, False, False, True, False]
    assert alone.tolist() == [False, False, False, False, True, False]


class TestCurves:
    times = np.array([0.5, 1.0, 2.0, 4.0])

    def test_one_search(self) -> None:
        found = reached(self.times, np.array([1.0, 3.0, 2.0]), np.array([0.5, 0.1, 0.7]))
        assert found.tolist() == [INF, 0.5, 0.5, 0.1]  # 0.7 at 2 s is no step back

    def test_quantiles_over_searches(self) -> None:
        searches = [(np.array([t]), np.array([g])) for t, g in ((0.5, 0.25), (1.0, 0.5), (2.0, 0.0))]
        curve = gap_curve(self.times, searches)
        assert curve.searches == 3
        assert curve.median.tolist() == [INF, 0.5, 0.25, 0.25]
        assert curve.most.tolist() == [INF, INF, 0.5, 0.5]

    def test_no_searches(self) -> None:
        assert np.isinf(gap_curve(self.times, []).median).all()

    def test_own_words(self) -> None:
        incumbent = np.array([2.0, NAN, 2.0, 2.0, 0.0, -1.0])
        bound = np.array([1.0, 1.0, -INF, 2.5, 0.0, -2.0])
        assert own_gap(incumbent, bound).tolist() == [0.5, INF, INF, 0, 0, 1]

    def test_moments_end_where_the_last_search_ends(self) -> None:
        assert moments(0.01, 10.0)[-1] == 10.0
        assert np.all(np.diff(moments(5.0, 5.0)) > 0)
        assert np.all(np.diff(moments(0.0, 0.0)) > 0)


class TestNetwork:
    def test_sums(self) -> None:
        sums = aggregate(np.array([1.0, 3.0]), np.array([0.5, 2.5]), np.zeros(2, dtype=bool))
        assert (sums.objective, sums.bound, sums.gap) == (4.0, 3.0, 0.25)
        assert sums.complete

    def test_units(self) -> None:
        sums = aggregate(np.array([1.0, 30.0]), np.array([0.5, 20.0]), np.zeros(2, dtype=bool), np.array([1.0, 10.0]))
        assert sums.objective == 4.0
        assert sums.bound == pytest.approx(2.5)
        assert sums.bound <= 2.5

    @pytest.mark.parametrize(
        ("objective", "bound", "is_broken", "unit", "which"),
        [
            (NAN, 1.0, False, 1.0, "without_answer"),
            (2.0, -INF, False, 1.0, "without_bound"),
            (2.0, 3.0, True, 1.0, "broken"),
            (2.0, 1.0, False, NAN, "without_unit"),
            (2.0, 1.0, False, 0.0, "without_unit"),
        ],
    )
    def test_anything_missing_is_no_gap_of_the_network(
        self, objective: float, bound: float, is_broken: bool, unit: float, which: str
    ) -> None:
        sums = aggregate(
            np.array([4.0, objective]), np.array([3.0, bound]), np.array([False, is_broken]), np.array([1.0, unit])
        )
        assert getattr(sums, which) == sums.missing == 1
        assert not sums.complete
        assert math.isnan(sums.gap)
        assert sums.partial_gap == pytest.approx(0.25)

    def test_nothing_at_all(self) -> None:
        sums = aggregate(np.empty(0), np.empty(0), np.empty(0, dtype=bool))
        assert not sums.complete
        assert math.isnan(sums.gap)
        assert math.isnan(sums.partial_gap)

    @given(st.lists(st.tuples(st.floats(1e-6, 1e6), st.floats(0, 1), st.floats(1e-3, 1e3)), min_size=1))
    def test_the_bound_of_the_sum_is_the_sum_of_the_bounds(self, blocks: list[tuple[float, float, float]]) -> None:
        from fractions import Fraction

        objective = np.array([o for o, _, _ in blocks])
        bound = np.array([o * share for o, share, _ in blocks])
        unit = np.array([u for _, _, u in blocks])
        sums = aggregate(objective, bound, np.zeros(len(blocks), dtype=bool), unit)
        exact = sum(Fraction(b) / Fraction(u) for b, u in zip(bound.tolist(), unit.tolist(), strict=True))
        assert Fraction(sums.bound) <= exact
        assert sums.bound == pytest.approx(float(exact), rel=1e-12)


class TestSizes:
    def test_few_sizes_stand_for_themselves(self) -> None:
        sizes, gap = np.array([4, 8, 4, 4]), np.array([0.1, 0.5, INF, 0.3])
        four, eight = by_size(sizes, gap, size_edges(sizes))
        assert (four.smallest, four.largest, four.blocks) == (4, 4, 3)
        assert (four.low, four.median, four.high, four.worst, four.worst_at) == (0.1, 0.3, INF, INF, 2)
        assert (eight.blocks, eight.worst, eight.worst_at) == (1, 0.5, 1)

    @given(st.lists(st.integers(1, 10_000), min_size=1, max_size=200))
    def test_every_block_is_in_one_bin(self, sizes: list[int]) -> None:
        values = np.array(sizes)
        edges = size_edges(values)
        assert sum(low <= n <= high for n in sizes for low, high in edges) == len(sizes)
        assert sum(found.blocks for found in by_size(values, np.zeros(len(sizes)), edges)) == len(sizes)
