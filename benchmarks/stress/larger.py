"""Patterns on 12 to 32 weights, too many to try every mask: there the engines are held against each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.exact.patterns.draw import Draw
from cbs_opt.kernel.patterns import Budget, Cardinality, Groups, Labels, Linear, Pattern, Quotas, intersect


def cardinality(rng: np.random.Generator) -> Pattern:
    """At least k zeros."""
    n = _size(rng)
    return Cardinality(n, int(rng.integers(1, n)))


def n_of_m(rng: np.random.Generator) -> Pattern:
    """1:4, 2:4 or 3:4."""
    return Quotas.n_of_m(_size(rng), int(rng.integers(1, 4)), 4)


def labels(rng: np.random.Generator) -> Pattern:
    """Quotas of labels in any order."""
    numbers = _numbers(rng)
    return Labels(numbers, rng.integers(0, np.bincount(numbers) + 1))


def groups(rng: np.random.Generator) -> Pattern:
    """Groups in any order."""
    numbers = _numbers(rng)
    return Groups(numbers, int(rng.integers(0, numbers.max() + 2)))


def budget(rng: np.random.Generator) -> Pattern:
    """A cost of each weight."""
    costs = rng.exponential(size=_size(rng))
    return Budget(costs, costs.sum() * rng.random())


def linear(rng: np.random.Generator) -> Pattern:
    """Two constraints with entries of both signs."""
    A = rng.integers(-2, 4, (2, _size(rng))).astype(float)
    return Linear(A, np.floor(rng.uniform(0.1, 0.6, 2) * np.maximum(A, 0.0).sum(axis=1)))


def quotas_in_groups(rng: np.random.Generator) -> Pattern:
    """2:4 inside kept blocks of eight."""
    n = 8 * int(rng.integers(2, 5))
    return intersect(Groups(np.arange(n) // 8, int(rng.integers(0, n // 8))), Quotas.n_of_m(n, 2, 4))


LARGER: Mapping[str, Draw] = {
    "cardinality, larger": cardinality,
    "N:M, larger": n_of_m,
    "labels, larger": labels,
    "groups, larger": groups,
    "budget, larger": budget,
    "linear, larger": linear,
    "quotas in groups, larger": quotas_in_groups,
}


def _size(rng: np.random.Generator) -> int:
    return 4 * int(rng.integers(3, 9))


def _numbers(rng: np.random.Generator) -> np.ndarray:
    """A number for each weight, 0 … the largest without gaps, in any order."""
    n = _size(rng)
    count = int(rng.integers(2, n // 2))
    return rng.permutation(np.concatenate([np.arange(count), rng.integers(0, count, n - count)]))
