"""One pattern within another, against all masks there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from cbs_opt import Budget, Cardinality, Groups, Labels, Linear, Pattern, Quotas, intersect
from cbs_opt.kernel.patterns.inclusion import lies_within

N = 8
LABELLED: list[Pattern] = [
    Cardinality(N, 4),
    Cardinality(N, 5),
    Cardinality(N, 5, forbid=[0]),
    Cardinality(N, 4, forbid=[0, 1, 2, 3]),
    Quotas.n_of_m(N, 2, 4),
    Quotas.n_of_m(N, 1, 2),
    Quotas.n_of_m(N, 1, 4),
    Quotas([3, 5], [1, 3]),
    Quotas([4, 4], [0, 4]),
    Labels([0, 1, 0, 1, 2, 2, 2, 2], [1, 1, 2]),
]
OTHERS: list[Pattern] = [
    Cardinality(N, 4, keep=[7]),
    Quotas([4, 4], 2, keep=[1, 2]),
    Groups.of_blocks(N, 4, 0.5),
    Groups.of_blocks(N, 2, 0.5),
    Budget(np.array([1.0, 2, 3, 4, 1, 2, 3, 4]), 6.0),
    intersect(Quotas.n_of_m(N, 2, 4), Cardinality(N, 5)),
    intersect(Quotas.n_of_m(N, 2, 4), Groups.of_blocks(N, 4, 0.5)),
    Linear(np.ones((1, N)), [3.0]),
]
MASKS = [np.array(z, dtype=bool) for z in product((0, 1), repeat=N)]


def masks_inside(pattern: Pattern) -> set[bytes]:
    """Where weights may be non-zero: all masks inside one of the pattern."""
    inside: set[bytes] = set()
    for z in MASKS:
        if pattern.contains(z):
            inside |= {(z & other).tobytes() for other in MASKS}
    return inside


INSIDE = {id(pattern): masks_inside(pattern) for pattern in (*LABELLED, *OTHERS)}


@pytest.mark.parametrize("outer", LABELLED, ids=str)
def test_labels_within_labels_are_told_exactly(outer: Pattern) -> None:
    for inner in LABELLED:
        if not (outer.forbid & ~inner.forbid).any():
            assert lies_within(inner, outer) == (INSIDE[id(inner)] <= INSIDE[id(outer)]), (str(inner), str(outer))


@pytest.mark.parametrize("outer", [*LABELLED, *OTHERS], ids=str)
def test_whatever_is_said_to_lie_within_does(outer: Pattern) -> None:
    for inner in (*LABELLED, *OTHERS):
        if lies_within(inner, outer):
            assert INSIDE[id(inner)] <= INSIDE[id(outer)], (str(inner), str(outer))


def test_any_pattern_lies_within_a_cardinality_and_a_combination_within_its_parts() -> None:
    half = Cardinality(N, 4)
    assert lies_within(Groups.of_blocks(N, 4, 0.5), half)
    assert lies_within(Linear(np.ones((1, N)), [3.0]), half)
    assert not lies_within(Budget(np.array([1.0, 2, 3, 4, 1, 2, 3, 4]), 20.0), half)
    both = intersect(Quotas.n_of_m(N, 2, 4), Cardinality(N, 5))
    assert lies_within(both, Quotas.n_of_m(N, 2, 4))
    assert lies_within(both, half)
    assert not lies_within(Quotas.n_of_m(N, 2, 4), both)
    assert lies_within(Quotas.n_of_m(N, 1, 4), both)


def test_forced_weights_of_the_inner_pattern_count() -> None:
    assert not lies_within(Quotas([2, 6], [0, 3], keep=[0, 1]), Quotas([4, 4], [3, 3]))
    assert lies_within(Quotas([4, 4], [2, 2], keep=[0, 1]), Quotas([4, 4], [2, 2]))


def test_large_patterns_are_compared_by_their_labels() -> None:
    rows, d = 512, 512
    assert lies_within(Quotas.n_of_m(rows * d, 2, 4, row=d), Quotas.n_of_m(rows * d, 16, 32, row=d))
    assert not lies_within(Quotas.n_of_m(rows * d, 16, 32, row=d), Quotas.n_of_m(rows * d, 2, 4, row=d))
