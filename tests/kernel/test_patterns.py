"""Cardinality: the laws of the pattern interface, against brute force over all masks."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.patterns import Cardinality, prune_count
from cbs_opt.testing import check_pattern
from cbs_opt.testing.pattern_laws import flips_are_no_less


@st.composite
def patterns(draw: st.DrawFn, most: int = 7) -> Cardinality:
    n = draw(st.integers(1, most))
    roles = np.array(draw(st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=n, max_size=n)))
    keep, forbid = np.flatnonzero(roles == 1), np.flatnonzero(roles == 2)
    return Cardinality(n, draw(st.integers(0, n - len(keep))), keep=keep, forbid=forbid)


def scores_for(data: st.DataObject, n: int) -> Vector:
    # Few values, so that ties are common.
    return np.array(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]), min_size=n, max_size=n)))


# ---------------------------------------------------------------- counts


def test_sparsity_is_guarded_against_the_binary_fraction() -> None:
    assert math.ceil(0.7 * 10) == 7
    assert math.ceil(0.07 * 100) == 8  # what goes wrong without the guard
    assert prune_count(100, 0.07) == 7
    assert prune_count(10, 0.7) == 7
    assert prune_count(10, 0.71) == 8
    assert prune_count(10, 0.0) == 0
    assert prune_count(10, 1.0) == 10
    assert prune_count(32_360, 0.98) == 31_713


def test_round_off_of_many_weights_is_ignored() -> None:
    """55 % of 10⁸ are 55 millions; the product in float64 is more, by 7e-9."""
    assert 0.55 * 10**8 > 55_000_000
    assert prune_count(10**8, 0.55) == 55_000_000


def test_of_billions_of_weights_none_is_forgotten() -> None:
    """Here a part of 1e-9 is several weights, which is no round-off any more."""
    assert prune_count(10**9, 1.0) == 10**9
    assert prune_count(7 * 10**9, 0.5) == 3_500_000_000


def test_every_fraction_of_n_up_to_200_gives_exactly_k() -> None:
    for n in range(1, 201):
        assert [prune_count(n, k / n) for k in range(n + 1)] == list(range(n + 1))


@given(st.integers(1, 10_000), st.integers(0, 1000))
def test_three_decimals_give_the_exact_ceiling(n: int, thousandths: int) -> None:
    assert prune_count(n, thousandths / 1000) == math.ceil(Fraction(thousandths, 1000) * n)


@pytest.mark.parametrize("bad", [-0.1, 1.0001, math.nan, math.inf, "x", None])
def test_sparsity_outside_zero_to_one_is_refused(bad: Any) -> None:
    with pytest.raises(PatternError, match=r"^sparsity: is .*\[0, 1\]"):
        prune_count(10, bad)


@pytest.mark.parametrize("bad", [-1, 11, 2.5, math.nan, math.inf, True, "3"])
def test_prune_is_a_whole_number_up_to_n(bad: Any) -> None:
    with pytest.raises(PatternError, match=r"^prune: is .*between 0 and the 10 weights"):
        Cardinality(10, bad)


def test_contradictions_are_named() -> None:
    with pytest.raises(PatternError, match="weight 3 is forced to stay and forbidden"):
        Cardinality(5, 1, keep=[1, 3], forbid=[3])
    with pytest.raises(PatternError, match="3 weights are forced to stay, but pruning 3 of 5 leaves 2"):
        Cardinality(5, 3, keep=[0, 1, 2])
    with pytest.raises(PatternError, match="keep: index 5 is outside 0 … 4"):
        Cardinality(5, 3, keep=[5])
    with pytest.raises(PatternError, match="forbid: index -1 is outside"):
        Cardinality(5, 3, forbid=[-1])
    with pytest.raises(PatternError, match="list of weight indices"):
        Cardinality(5, 3, forbid=[0.5])


# ---------------------------------------------------------------- the oracle


@settings(max_examples=30, deadline=None)
@given(patterns(), st.integers(0, 2**32 - 1))
def test_the_laws_of_patterns(pattern: Cardinality, seed: int) -> None:
    check_pattern(pattern, seed, draws=2)


@given(patterns())
def test_membership_is_what_the_definition_says(pattern: Cardinality) -> None:
    for z in itertools.product([False, True], repeat=pattern.n):
        kept = {i for i in range(pattern.n) if z[i]}
        forced, forbidden = set(np.flatnonzero(pattern.keep)), set(np.flatnonzero(pattern.forbid))
        meets = len(kept) <= pattern.n - pattern.prune and forced <= kept and not forbidden & kept
        assert pattern.contains(np.array(z)) == meets


def test_relief_of_each_weight_is_one_of_those_too_many() -> None:
    """At most two of five may stay, one of them is forced to, and each of the others is one weight."""
    pattern = Cardinality(5, 3, keep=[0])
    np.testing.assert_allclose(pattern.relief(np.ones(5, dtype=bool)), [0, 1 / 3, 1 / 3, 1 / 3, 1 / 3])
    assert pattern.relief(np.array([True, True, True, False, False])).tolist() == [0, 1, 1, 0, 0]


def test_ties_keep_the_lower_index() -> None:
    assert Cardinality(5, 2).argmax(np.ones(5)).tolist() == [True, True, True, False, False]


@given(patterns(), st.data())
def test_flip_values_are_exact(pattern: Cardinality, data: st.DataObject) -> None:
    flips_are_no_less(pattern, scores_for(data, pattern.n), exact=True)


def test_words_and_read_only_sets() -> None:
    pattern = Cardinality.from_sparsity(10, 0.7, keep=[0], forbid=[1, 2])
    assert str(pattern) == "prune at least 7 of 10, 1 forced to stay, 2 forbidden"
    assert pattern.prune == 7
    assert pattern.most_kept_free == 2
    assert not pattern.contains(np.ones(9, dtype=bool))
    with pytest.raises(ValueError, match="read-only"):
        pattern.keep[3] = True
