"""Greedy OBS against a greedy that solves every system from scratch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, Pattern, PruningProblem
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns import Named, Rows
from cbs_opt.solvers.heuristic import greedy_obs


class TwoOfFour(Pattern):
    """At most two of every four consecutive weights are kept; the oracle by sorting, the flips by trial."""

    def __init__(self, n: int) -> None:
        self._n = n

    @property
    def n(self) -> int:
        return self._n

    @property
    def free(self) -> Mask:
        return np.ones(self._n, dtype=bool)

    def contains(self, z: Mask) -> bool:
        return bool((z.reshape(-1, 4).sum(axis=1) <= 2).all())

    def argmax(self, scores: Vector) -> Mask:
        order = np.argsort(-scores.reshape(-1, 4), axis=1, kind="stable")
        z = np.zeros((self._n // 4, 4), dtype=bool)
        np.put_along_axis(z, order[:, :2], True, axis=1)
        return z.ravel()

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        values = np.full(self._n, scores[z].sum())
        for i in range(self._n):
            group = np.arange(i // 4 * 4, i // 4 * 4 + 4)
            others = np.sort(scores[group[group != i]])[::-1]
            flipped = others[:2].sum() if z[i] else scores[i] + others[0]
            values[i] += flipped - scores[group][z[group]].sum()
        return values

    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        raise NotImplementedError

    def rows(self) -> Rows:
        nothing = np.zeros(self._n, dtype=bool)
        A = np.kron(np.eye(self._n // 4), np.ones(4))
        named = [Named("two", self._n // 4, "two of four stay")]
        return Rows.of(A, np.full(self._n // 4, 2.0), keep=nothing, forbid=nothing, constraints=named)

    def __str__(self) -> str:
        return "2:4"


def make_problem(n: int, seed: int, first_order: bool = False) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2 * n, n)) * np.exp(rng.standard_normal(n))
    g = rng.standard_normal(n) if first_order else None
    return PruningProblem(rng.standard_normal(n), X.T @ X / (2 * n), g=g)


def optimal_value(H: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    kept = np.flatnonzero(mask)
    return float(-0.5 * b[kept] @ np.linalg.solve(H[np.ix_(kept, kept)], b[kept]))


def naive_greedy(problem: PruningProblem, pattern: Cardinality) -> np.ndarray:
    H, b = problem.curvature.dense(), problem.curvature.matvec(problem.w_bar) - problem.linear_term()
    z = ~pattern.forbid
    while z.sum() > problem.n - pattern.prune:
        candidates = np.flatnonzero(z & pattern.free)
        after = [optimal_value(H, b, z & (np.arange(problem.n) != i)) for i in candidates]
        z[candidates[int(np.argmin(after))]] = False
    return z


@settings(max_examples=40, deadline=None)
@given(n=st.integers(3, 14), seed=st.integers(0, 2**32 - 1), first_order=st.booleans(), forced=st.booleans())
def test_equals_greedy_by_solving_every_system(n: int, seed: int, first_order: bool, forced: bool) -> None:
    problem = make_problem(n, seed, first_order)
    pattern = Cardinality(n, n // 2 + 1, keep=[0], forbid=[n - 1]) if forced else Cardinality(n, n // 2 + 1)
    found = greedy_obs.run(problem.within(pattern)).mask
    assert (found == naive_greedy(problem, pattern)).all()


def test_removing_one_of_two_duplicates_costs_nothing() -> None:
    H = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1e-3]]) + 1e-9 * np.eye(3)
    mask = greedy_obs.run(PruningProblem(np.array([1.0, 1.0, 1.0]), H).pruning(1)).mask
    assert mask.tolist() == [False, True, True]


@pytest.mark.parametrize("seed", range(5))
def test_condition_1e12_is_survived_and_still_good(seed: int) -> None:
    n, rng = 80, np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    H = (Q * np.logspace(0, -12, n)) @ Q.T
    problem = PruningProblem(rng.standard_normal(n), (H + H.T) / 2 + 1e-13 * np.eye(n)).pruning(40)
    b = problem.curvature.matvec(problem.w_bar)
    mask = greedy_obs.run(problem).mask
    magnitude = problem.Z.argmax(problem.w_bar**2)
    assert mask.sum() == 40
    assert optimal_value(problem.curvature.dense(), b, mask) <= optimal_value(problem.curvature.dense(), b, magnitude)


@pytest.mark.parametrize("seed", range(5))
def test_other_patterns_are_filled_exactly(seed: int) -> None:
    problem = make_problem(24, seed).within(TwoOfFour(24))
    mask = greedy_obs.run(problem).mask
    assert (mask.reshape(-1, 4).sum(axis=1) == 2).all()
