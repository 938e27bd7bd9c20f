"""Labels with room, scattered as they like: the laws of the pattern interface, against brute force over all masks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import PruningProblem, solve
from cbs_opt.errors import PatternError, UnsupportedError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.testing.scattered import Scattered


def masks_of(n: int) -> Mask:
    return np.array(list(itertools.product([False, True], repeat=n)))


@st.composite
def patterns(draw: st.DrawFn) -> tuple[Scattered, Vector]:
    """A pattern of up to three labels, one of which may have no weights, and scores with many ties."""
    n = draw(st.integers(1, 6))
    labels = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    roles = np.array(draw(st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=n, max_size=n)))
    forced = np.bincount(labels[roles == 1], minlength=3)
    room = forced + np.array([draw(st.integers(0, 3)) for _ in range(3)])
    scores = np.array(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]), min_size=n, max_size=n)))
    return Scattered(labels, room, np.flatnonzero(roles == 1), np.flatnonzero(roles == 2)), scores


def allowed(pattern: Scattered) -> list[Mask]:
    """The masks of the definition."""
    return [
        z
        for z in masks_of(pattern.n)
        if all(z[pattern.labels == label].sum() <= pattern.room[label] for label in range(3))
        and z[pattern.keep].all()
        and not z[pattern.forbid].any()
    ]


@given(patterns())
def test_the_oracle_is_right_whatever_the_labels(drawn: tuple[Scattered, Vector]) -> None:
    pattern, scores = drawn
    inside = allowed(pattern)
    best = pattern.argmax(scores)
    flips = pattern.flip_values(scores, best)
    assert [z.tolist() for z in masks_of(pattern.n) if pattern.contains(z)] == [z.tolist() for z in inside]
    assert pattern.contains(best)
    assert scores[best].sum() == max(float(scores[z].sum()) for z in inside)
    for i in range(pattern.n):
        others = [float(scores[z].sum()) for z in inside if z[i] != best[i]]
        assert flips[i] == pytest.approx(max(others, default=-math.inf), abs=1e-12)


@settings(max_examples=50)
@given(patterns())
def test_relief_is_of_weights_that_leave_the_largest_mask_inside_as_large(drawn: tuple[Scattered, Vector]) -> None:
    pattern, scores = drawn
    inside = allowed(pattern)
    z = (scores > 0.5) & ~pattern.forbid | pattern.keep

    def largest(outer: Mask) -> int:
        return max(int(mask.sum()) for mask in inside if not (mask & ~outer).any())

    for i in np.flatnonzero(z & pattern.free):
        without = z.copy()
        without[i] = False
        assert bool(pattern.relief(z)[i]) == (largest(without) == largest(z))


def test_a_kind_of_its_own_needs_no_entry_elsewhere() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 9))
    pattern = Scattered([0, 1, 2, 0, 1, 2, 0, 1, 2], [1, 2, 1], keep=[4], forbid=[0])
    problem = PruningProblem(rng.normal(size=9), X.T @ X / 30, pattern=pattern)
    best = min(float(solve(problem.within(pattern.fixed(z, ~z)), "magnitude").objective) for z in allowed(pattern))
    for name in ("magnitude", "greedy-obs", "admm", "sparsegpt"):
        assert solve(problem, name).objective >= best
    assert solve(problem, "enumeration").objective == pytest.approx(best, rel=1e-9)
    assert solve(problem, "swap").objective == pytest.approx(best, rel=0.2)
    with pytest.raises(UnsupportedError, match=r"cannot take the pattern Scattered; it takes Cardinality$"):
        solve(problem, "cbs")


def test_words_and_errors() -> None:
    pattern = Scattered([0, 1, 0, 1], [1, 2], keep=[1], forbid=[2])
    assert str(pattern) == "keep at most 1, 2, 1 forced to stay, 1 forbidden"
    with pytest.raises(PatternError, match=r"keep: 2 weights labelled 0 are forced .* pruning 1 of 2 leaves 1"):
        pattern = Scattered([0, 1, 0, 1], [1, 2], keep=[0, 2])
    with pytest.raises(PatternError, match="weight 2 is forced to stay and forbidden"):
        pattern.fixed(np.array([False, False, True, False]), np.zeros(4, dtype=bool))
