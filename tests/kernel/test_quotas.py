"""Quotas: the laws of the pattern interface, against brute force over all masks; N:M is a special case."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, PruningProblem, Quotas
from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.models import FORMULATIONS
from cbs_opt.testing import check_pattern
from cbs_opt.testing.pattern_laws import flips_are_no_less


def masks_of(n: int) -> Mask:
    return np.array(list(itertools.product([False, True], repeat=n)))


@st.composite
def patterns(draw: st.DrawFn, most: int = 7) -> Quotas:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3).filter(lambda sizes: sum(sizes) <= most))
    roles = np.array(draw(st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=sum(sizes), max_size=sum(sizes))))
    keep, forbid = np.flatnonzero(roles == 1), np.flatnonzero(roles == 2)
    forced = [int((part == 1).sum()) for part in np.split(roles, np.cumsum(sizes)[:-1])]
    prune = [draw(st.integers(0, size - kept)) for size, kept in zip(sizes, forced, strict=True)]
    return Quotas(sizes, prune, keep=keep, forbid=forbid)


def scores_for(data: st.DataObject, n: int) -> Vector:
    # Few values, so that ties are common.
    return np.array(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]), min_size=n, max_size=n)))


@given(patterns())
def test_membership_is_what_the_definition_says(pattern: Quotas) -> None:
    borders = np.cumsum(pattern.sizes)[:-1]
    for z in masks_of(pattern.n):
        counts = [int(part.sum()) for part in np.split(z, borders)]
        meets = all(count <= room for count, room in zip(counts, pattern.room, strict=True))
        assert pattern.contains(z) == (meets and z[pattern.keep].all() and not z[pattern.forbid].any())


@settings(max_examples=30, deadline=None)
@given(patterns(), st.integers(0, 2**32 - 1))
def test_the_laws_of_patterns(pattern: Quotas, seed: int) -> None:
    check_pattern(pattern, seed, draws=2)


@given(patterns(), st.data())
def test_flip_values_are_exact(pattern: Quotas, data: st.DataObject) -> None:
    flips_are_no_less(pattern, scores_for(data, pattern.n), exact=True)


@given(st.integers(1, 8), st.data())
def test_one_segment_is_a_cardinality(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    scores = scores_for(data, n)
    quotas, cardinality = Quotas([n], k), Cardinality(n, k)
    z = cardinality.argmax(scores)
    assert (quotas.argmax(scores) == z).all()
    np.testing.assert_array_equal(quotas.flip_values(scores, z), cardinality.flip_values(scores, z))
    for pattern in (quotas, cardinality):
        assert (pattern.single, pattern.labels.tolist(), pattern.room.tolist()) == (True, n * [0], [n - k])


def test_n_of_m_keeps_the_largest_of_every_group_and_the_lower_index_of_ties() -> None:
    pattern = Quotas.n_of_m(12, 2, 4, row=4)
    z = pattern.argmax(np.array([1, 3, 2, 0, 5, 5, 5, 5, 0, 0, 1, 0.0]))
    assert z.reshape(3, 4).tolist() == [
        [False, True, True, False],
        [True, True, False, False],
        [True, False, True, False],
    ]
    assert str(pattern) == "prune at least 2 of every 4 consecutive weights of 12"
    assert str(Quotas([3, 2], [1, 2], keep=[0], forbid=[4])) == (
        "prune at least 3 of 5 by the quotas of 2 segments, 1 forced to stay, 1 forbidden"
    )


def test_forced_weights_stay_in_segments_of_equal_size() -> None:
    assert Quotas([2, 2], 1, keep=[1, 2]).argmax(np.array([5.0, 1.0, 1.0, 5.0])).tolist() == [False, True, True, False]


def test_words_of_one_segment_and_of_unequal_quotas() -> None:
    assert str(Quotas([5], 2)) == "prune at least 2 of 5"
    assert str(Quotas([2, 2], [1, 2])) == "prune at least 3 of 4 by the quotas of 2 segments"


def test_a_million_weights_in_groups_of_four() -> None:
    scores = np.random.default_rng(0).random(1_000_000)
    z = Quotas.n_of_m(len(scores), 2, 4).argmax(scores)
    ranked = np.sort(scores.reshape(-1, 4), axis=1)
    assert scores[z].sum() == pytest.approx(ranked[:, 2:].sum(), rel=1e-12)


@pytest.mark.parametrize("name", ["joint-bigm", "joint-perspective", "selection-binary"])
def test_formulations_take_the_constraints(name: str) -> None:
    from pyomo.environ import value

    pattern = Quotas([2, 4], [1, 3], keep=[0], forbid=[5])
    model = FORMULATIONS[name].build(PruningProblem(np.ones(6), np.eye(6), pattern=pattern))
    for z in masks_of(6):
        for i in model.I:
            model.z[i].value = int(z[i])
        meets = all(value(quota.body) <= value(quota.upper) for quota in model.quotas.values())
        assert (meets and z[0] and not z[5]) == pattern.contains(z)
    assert model.z[0].fixed
    assert model.z[5].fixed


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Quotas([1, 0], 0), "segment 1 has 0 weights"),
        (lambda: Quotas([2, 3], [1]), "has 1 quotas for 2 segments"),
        (lambda: Quotas([2, 3], [1, 4]), "prune: is 4 for segment 1; a number between 0 and its 3"),
        (lambda: Quotas([2, 3], 0.5), "prune: is .*whole number a segment"),
        (lambda: Quotas([[2]], 1), "sizes: is .*whole number a segment"),
        (lambda: Quotas([2, 2.5], 1), "sizes: is .*whole number a segment"),
        (lambda: Quotas([2, 3], 1, keep=[0, 1]), "keep: 2 weights of segment 0 are forced to stay"),
        (lambda: Quotas([2, 3], 1, keep=[0], forbid=[0]), "forced to stay and forbidden"),
        (lambda: Quotas([2, 3], 1, keep=[5]), "keep: index 5 is outside 0 … 4"),
        (lambda: Quotas.n_of_m(12, 2, 5), "5 does not divide the 12 weights"),
        (lambda: Quotas.n_of_m(12, 2, 4, row=6), "4 does not divide the 6 weights of a row"),
        (lambda: Quotas.n_of_m(12, 2, 4, row=5), "12 weights do not make rows of 5"),
        (lambda: Quotas.n_of_m(12, 5, 4), "N:M keeps N of M"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make: Any, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        make()


def test_n_of_m_at_its_ends() -> None:
    """None of four may stay, or all of them; rows of a single weight are rows."""
    assert Quotas.n_of_m(8, 0, 4).prune.tolist() == [4, 4]
    assert Quotas.n_of_m(8, 4, 4).prune.tolist() == [0, 0]
    assert Quotas.n_of_m(3, 0, 1, row=1).prune.tolist() == [1, 1, 1]
