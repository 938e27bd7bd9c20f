"""Groups kept or pruned together: the laws of patterns, flips that are attained, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cbs_opt import Groups
from cbs_opt.errors import PatternError
from cbs_opt.testing import check_pattern
from cbs_opt.testing.pattern_laws import flips_are_no_less

SEEDS = st.integers(0, 2**32 - 1)


def groups_of(rng: np.random.Generator) -> Groups | None:
    """Groups in any order, some weights forced and forbidden; None where more are forced than may stay."""
    n = int(rng.integers(1, 7))
    groups = int(rng.integers(1, n + 1))
    units = rng.permutation(np.concatenate([np.arange(groups), rng.integers(0, groups, n - groups)]))
    roles = rng.integers(0, 5, n)
    try:
        return Groups(
            units, int(rng.integers(0, groups + 1)), keep=np.flatnonzero(roles == 0), forbid=np.flatnonzero(roles == 1)
        )
    except PatternError:
        return None


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_the_laws_of_patterns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pattern = groups_of(rng)
    assume(pattern is not None)
    assert pattern is not None
    check_pattern(pattern, seed, draws=2)
    for _ in range(5):
        flips_are_no_less(pattern, rng.choice([0.0, 0.5, 1.0, 2.0, 3.5], pattern.n), exact=True)


def test_whole_columns_rows_and_blocks_stay() -> None:
    scores = np.array([[5, 1, 1, 1], [0, 4, 1, 1], [1, 1, 1, 1.0]]).ravel()
    columns = Groups.of_columns(3, 4, 0.5)
    assert columns.argmax(scores).reshape(3, 4).tolist() == 3 * [[True, True, False, False]]
    rows = Groups.of_rows(3, 4, 0.6)
    assert rows.argmax(scores).reshape(3, 4).tolist() == [4 * [True], 4 * [False], 4 * [False]]
    blocks = Groups.of_blocks(12, 2, 0.5, row=4)
    assert blocks.argmax(scores).reshape(6, 2).all(axis=1).tolist() == [True, True, True, False, False, False]
    assert (columns.units.tolist(), rows.units[:5].tolist()) == (3 * [0, 1, 2, 3], [0, 0, 0, 0, 1])
    assert str(rows) == "prune at least 2 of 3 groups of 4 weights"


def test_a_kept_weight_takes_its_group_and_may_itself_be_zero() -> None:
    pattern = Groups([0, 0, 1, 1], 1)
    assert pattern.contains(np.array([True, False, False, False]))
    assert not pattern.contains(np.array([True, False, True, False]))
    assert pattern.argmax(np.array([0.0, 3.0, 1.0, 1.0])).tolist() == [True, True, False, False]
    assert Groups([0, 0, 1, 1], 1, forbid=[1]).argmax(np.array([2.0, 9.0, 0.5, 1.0])).tolist() == [1, 0, 0, 0]


def test_none_and_all_of_the_groups_can_be_pruned() -> None:
    assert Groups([0, 0, 1], 0).argmax(np.zeros(3)).all()
    assert not Groups([0, 0, 1], 2).argmax(np.ones(3)).any()


def test_blocks_of_one_weight_and_of_several_rows() -> None:
    assert Groups.of_blocks(4, 1, 0.5).units.tolist() == [0, 1, 2, 3]
    assert Groups.of_blocks(8, 4, 0.5, row=2).units.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert Groups.of_blocks(4, 2, 0.5, row=1).units.tolist() == [0, 0, 1, 1]
    with pytest.raises(PatternError, match="3 does not divide the 2 weights of a row"):
        Groups.of_blocks(12, 3, 0.5, row=2)


def test_relief_of_each_group_is_one_of_those_too_many() -> None:
    """One of three groups may stay, and two have weights that are pruned already."""
    pattern = Groups([0, 0, 1, 1, 2, 2], 2)
    assert pattern.relief(np.ones(6, dtype=bool)).tolist() == 6 * [0.5]
    assert pattern.relief(np.array([True, False, False, True, False, False])).tolist() == [1, 0, 0, 1, 0, 0]


def test_members_are_the_same_as_numbers() -> None:
    given = Groups.of_members([[3, 0], [1], [2, 4]], 1, keep=[1])
    assert given.units.tolist() == [0, 1, 2, 0, 2]
    assert given.keep.tolist() == [False, True, False, False, False]


def test_a_million_weights_in_blocks_of_four() -> None:
    scores = np.random.default_rng(0).random(1_000_000)
    z = Groups.of_blocks(len(scores), 4, 0.5).argmax(scores)
    sums = np.sort(scores.reshape(-1, 4).sum(axis=1))
    assert scores[z].sum() == pytest.approx(sums[len(sums) // 2 :].sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Groups.of_members([[0, 1], [1, 2]], 1),
            "weight 1 is in group 0 and in group 1; they must not overlap",
        ),
        (lambda: Groups.of_members([[0, 1], [3]], 1), "weight 2 is in no group"),
        (lambda: Groups([0, 2], 1), "no weight is in group 1"),
        (lambda: Groups([0, -1], 1), "groups: give the number of the group"),
        (lambda: Groups([0, 1], 3), "prune: is 3; a whole number between 0 and the 2 groups"),
        (lambda: Groups([0, 1], 0.5), "prune: is 0.5"),
        (lambda: Groups([0, 1], True), "prune: is True"),
        (lambda: Groups([0, 0, 1], 1, keep=[0, 2]), "keep: 2 groups hold weights .* pruning 1 of 2 leaves 1"),
        (lambda: Groups([0, 0, 1], 1, keep=[0], forbid=[0]), "forced to stay and forbidden"),
        (lambda: Groups([0, 0, 1], 1, keep=[3]), "keep: index 3 is outside 0 … 2"),
        (lambda: Groups.of_blocks(12, 5, 0.5), "5 does not divide the 12 weights"),
        (lambda: Groups.of_blocks(12, 4, 0.5, row=6), "4 does not divide the 6 weights of a row"),
        (lambda: Groups.of_columns(2, 3, 1.5), "sparsity: is 1.5"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make: Any, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        make()
