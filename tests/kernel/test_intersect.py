"""Patterns combined: every combination obeys the laws, and has the oracle that is best for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cbs_opt import Budget, Cardinality, Groups, Labels, Linear, Pattern, PruningProblem, Quotas, intersect, solve
from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns.intersect import Intersection
from cbs_opt.kernel.patterns.labelled import Labelled
from cbs_opt.kernel.patterns.nested import Nested
from cbs_opt.kernel.patterns.rows import Named, Rows
from cbs_opt.kernel.patterns.within_groups import WithinGroups
from cbs_opt.testing import check_pattern
from cbs_opt.testing.instances import masks_of
from cbs_opt.testing.pattern_laws import flips_are_no_less

SEEDS = st.integers(0, 2**32 - 1)


def numbers(rng: np.random.Generator, n: int) -> Vector:
    """A number for each weight, without gaps, in any order."""
    count = int(rng.integers(1, n + 1))
    return rng.permutation(np.concatenate([np.arange(count), rng.integers(0, count, n - count)]))


def combined(rng: np.random.Generator, kind: str) -> Pattern | None:
    """A combination of the kind, some weights forced and forbidden; None where no mask is left."""
    n = int(rng.integers(2, 7))
    coarse = numbers(rng, n)
    fine = np.unique(coarse * 2 + rng.integers(0, 2, n), return_inverse=True)[1]
    roles, total = rng.integers(0, 6, n), Cardinality(n, int(rng.integers(0, n + 1)))
    forced = {"keep": np.flatnonzero(roles == 0), "forbid": np.flatnonzero(roles == 1)}
    cost = rng.exponential(size=n)
    try:
        inside = Labels(fine, rng.integers(0, np.bincount(fine) + 1), **forced)
        if kind == "quotas in quotas":
            return intersect(total, inside, Labels(coarse, rng.integers(0, np.bincount(coarse) + 1)))
        if kind == "quotas in groups":
            return intersect(Groups(coarse, int(rng.integers(0, coarse.max() + 2))), inside)
        if kind == "quotas in a budget of groups":
            costs = rng.exponential(size=coarse.max() + 1)
            return intersect(Budget(costs, costs.sum() * rng.random(), groups=coarse), inside)
        if kind == "a budget and quotas":
            return intersect(Budget(cost, cost.sum() * rng.random()), Labels(numbers(rng, n), 0), inside)
        return intersect(Linear(rng.normal(size=(2, n)), rng.random(2)), Groups(coarse, 1), total.fixed(*_masks(roles)))
    except PatternError:
        return None


def _masks(roles: Vector) -> tuple[Mask, Mask]:
    return roles == 0, roles == 1


@pytest.mark.parametrize(
    "kind",
    [
        "quotas in quotas",
        "quotas in groups",
        "quotas in a budget of groups",
        "a budget and quotas",
        "groups and linear constraints",
    ],
)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_laws_of_patterns(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pattern = combined(rng, kind)
    assume(pattern is not None)
    assert pattern is not None
    check_pattern(pattern, seed, draws=2)
    if pattern.exact_flips:
        for _ in range(5):
            flips_are_no_less(pattern, rng.choice([0.0, 0.5, 1.0, 2.0, 3.5], pattern.n), exact=True)


def test_the_masks_are_those_that_all_patterns_allow() -> None:
    parts = [Groups.of_rows(2, 4, 0.5), Quotas.n_of_m(8, 2, 4, row=4), Budget(np.arange(8.0), 9)]
    both = intersect(*parts)
    inside = {z.tobytes() for z in masks_of(both)}
    assert inside == set.intersection(*({z.tobytes() for z in masks_of(part)} for part in parts))


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([Groups.of_rows(2, 8, 0.5), Quotas.n_of_m(16, 2, 4, row=8)], WithinGroups),
        ([Groups.of_rows(2, 8, 0.5), Quotas.n_of_m(16, 2, 4, row=8), Quotas([8, 8], 5)], WithinGroups),
        ([Groups.of_columns(2, 8, 0.5), Quotas.n_of_m(16, 2, 4, row=8)], Intersection),
        ([Quotas.n_of_m(16, 2, 4), Quotas([8, 8], 5), Cardinality(16, 12)], Nested),
        ([Quotas.n_of_m(16, 2, 4), Labels(np.arange(16) % 4, 2)], Intersection),
        ([Quotas.n_of_m(16, 2, 4), Cardinality(16, 7)], Labelled),  # 2:4 prunes 8 anyway
        ([Groups.of_rows(2, 8, 0.5), Cardinality(16, 0)], Intersection),
    ],
)
def test_the_best_oracle_there_is(parts: list[Pattern], kind: type[Pattern]) -> None:
    assert isinstance(intersect(*parts), kind)


def test_three_levels_of_quotas() -> None:
    """One of each pair, one and two of each half, two of all: the best masks with a weight decided, by hand."""
    pattern = intersect(Quotas.n_of_m(8, 1, 2), Quotas([4, 4], [3, 2]), Cardinality(8, 6))
    assert isinstance(pattern, Nested)
    assert pattern.exact_flips
    scores = np.array([5.0, 4.0, 3.0, 1.0, 2.0, 2.5, 6.0, 0.5])
    z = pattern.argmax(scores)
    assert np.flatnonzero(z).tolist() == [0, 6]
    assert pattern.flip_values(scores, z).tolist() == [10.0, 10.0, 9.0, 7.0, 8.0, 8.5, 7.5, 5.5]
    with_4 = pattern.fixed(np.arange(8) == 4, np.zeros(8, dtype=bool))
    z = with_4.argmax(scores)
    assert np.flatnonzero(z).tolist() == [4, 6]
    assert with_4.flip_values(scores, z).tolist() == [7.0, 6.0, 5.0, 3.0, -np.inf, -np.inf, 7.0, 2.5]
    one_pair = np.array([5.0, 4.0, 3.0, 1.0, 7.0, 6.5, 1.0, 0.5])  # 4 and 5 are worth most, but a pair
    assert np.flatnonzero(pattern.argmax(one_pair)).tolist() == [0, 4]


def test_one_of_two_in_one_of_two_groups() -> None:
    """Scores 3, 1 | 2, 1½, of each group at most one, and one group: the best masks with a weight decided, by hand."""
    pattern = intersect(Groups([0, 0, 1, 1], 1), Labels([0, 0, 1, 1], [1, 1]))
    assert isinstance(pattern, WithinGroups)
    scores, z = np.array([3.0, 1.0, 2.0, 1.5]), np.array([True, False, False, False])
    assert pattern.argmax(scores).tolist() == z.tolist()
    assert pattern.flip_values(scores, z).tolist() == [2.0, 1.0, 2.0, 1.5]
    found = pattern.relaxed(scores)
    assert found.z.tolist() == [1.0, 0.0, 0.0, 0.0]
    for bound, exact in ((found.kept, [3.0, 1.0, 2.0, 1.5]), (found.pruned, [2.0, 3.0, 3.0, 3.0])):
        assert (bound >= exact).all()
        np.testing.assert_allclose(bound, exact, rtol=1e-10)


def test_what_was_combined_can_be_combined_further() -> None:
    rows, inside, total = Groups.of_rows(2, 8, 0.5), Quotas.n_of_m(16, 2, 4, row=8), Quotas([8, 8], 5)
    stepwise = intersect(intersect(rows, inside), total)
    assert isinstance(stepwise, WithinGroups)
    assert str(stepwise) == str(intersect(rows, inside, total))
    scores = np.random.default_rng(0).random(16)
    assert stepwise.argmax(scores).tolist() == intersect(total, inside, rows).argmax(scores).tolist()
    assert stepwise.units.tolist() == list(range(16))  # of a row that stays, some weights go


def test_weights_of_the_same_units_are_a_unit() -> None:
    rows, columns = Groups.of_rows(2, 4, 0.5), Groups.of_blocks(8, 2, 0.25)
    both = intersect(rows, columns)
    assert len(np.unique(both.units)) == 4
    assert (both.units[::2] == both.units[1::2]).all()


def test_words_say_once_what_is_forced() -> None:
    pattern = intersect(Quotas.n_of_m(8, 2, 4, row=8), Budget(np.ones(8), 3, keep=[0]))
    quotas, budget = "prune at least 2 of every 4 consecutive weights of 8", "keep weights that cost at most 3 of 8"
    assert str(pattern) == f"{quotas} and {budget}, 1 forced to stay"


def test_methods_by_the_oracle_take_them() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 8))
    pattern = intersect(Groups.of_rows(2, 4, 0.5), Quotas.n_of_m(8, 2, 4, row=4))
    problem = PruningProblem(rng.normal(size=8), X.T @ X / 30, pattern=pattern)
    best = solve(problem, "enumeration").objective
    for name in ("magnitude", "obd", "wanda", "woodfisher", "greedy-obs"):
        found = solve(problem, name)
        assert pattern.contains(found.mask)
        assert found.objective >= best * (1 - 1e-9)


class Own(Pattern):
    """A pattern of a user's: the first weight needs the second. It has rows, and says nothing else about itself."""

    n = 3
    free = np.ones(3, dtype=bool)

    def contains(self, z: Mask) -> bool:
        return not (z[0] and z[2])

    def argmax(self, scores: Vector) -> Mask:
        return np.array([scores[0] > scores[2], True, scores[0] <= scores[2]])

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        return np.full(3, scores.sum())

    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        if keep.any() or prune.any():
            raise PatternError("own: nothing can be fixed")
        return self

    def rows(self) -> Rows:
        nothing = np.zeros(3, dtype=bool)
        return Rows.of([[1, 0, 1]], [1], keep=nothing, forbid=nothing, constraints=[Named("own", 1, "not both")])

    def __str__(self) -> str:
        return "own"


def test_a_pattern_of_a_users_is_combined_by_its_rows() -> None:
    pattern = intersect(Own(), Cardinality(3, 1))
    assert [z.tolist() for z in masks_of(pattern)] == [
        z.tolist() for z in masks_of(Cardinality(3, 1)) if not (z[0] and z[2])
    ]
    assert pattern.argmax(np.array([3.0, 1.0, 2.0])).tolist() == [True, True, False]
    assert pattern.most(np.array([3.0, 1.0, 2.0])) == pytest.approx(4.0, abs=1e-6)


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(PatternError, match="the patterns are of 3 and of 4 weights"):
        intersect(Cardinality(3, 1), Cardinality(4, 1))
    with pytest.raises(PatternError, match="weight 0 is forced to stay and forbidden"):
        intersect(Cardinality(3, 1, keep=[0]), Cardinality(3, 1, forbid=[0]))
    with pytest.raises(PatternError, match="forced to stay costs 3, but the budget is 2"):
        intersect(Cardinality(3, 1, keep=[2]), Budget([1, 2, 3], 2))
    with pytest.raises(PatternError, match="no pattern is given"):
        intersect()
