"""Bounds of nodes whose kept weights are near-duplicates: against exact arithmetic, where round-off is largest."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from rational import solved

from cbs_opt import Budget, DenseCurvature, PruningProblem
from cbs_opt.kernel.arrays.types import EPS
from cbs_opt.solvers.bounds.elimination import Elimination
from cbs_opt.solvers.exact.bnb_units import UnitSearch
from cbs_opt.solvers.forms.node_state import state_of

KEPT = 2


def exact_minimum(H: list[list[Fraction]], c: list[Fraction], kept: list[int]) -> Fraction:
    """min ½(w − c)ᵀH(w − c) over w = 0 outside ``kept``, by elimination in rational numbers."""
    n = len(c)
    gone = [i for i in range(n) if i not in kept]
    right = [sum((H[i][j] * c[j] for j in gone), Fraction(0)) for i in kept]
    d = [-x for x in c]
    for i, value in zip(kept, solved([[H[i][j] for j in kept] for i in kept], right), strict=True):
        d[i] = value
    return sum((d[i] * H[i][j] * d[j] for i in range(n) for j in range(n)), Fraction(0)) / 2


@pytest.mark.parametrize("seed", range(40))
def test_a_bound_holds_where_kept_weights_are_nearly_the_same(seed: int) -> None:
    """Weight 2 is about the difference of the kept ones 0 and 1, magnified; H has a condition of 1e12 to 1e15."""
    rng = np.random.default_rng(seed)
    free = int(rng.integers(2, 4))
    n, room = KEPT + free, int(rng.integers(1, free))
    X = rng.normal(size=(n + 2, n))
    X[:, 1] = X[:, 0] + 10.0 ** -rng.uniform(2, 7) * X[:, 2]
    H = X.T @ X + 10.0 ** rng.uniform(-13.5, -12) * np.eye(n)
    w = rng.normal(size=n) * 10.0 ** rng.uniform(-2, 2, n)
    pattern = Budget(np.ones(n), KEPT + room, keep=range(KEPT))
    search = UnitSearch(PruningProblem(w, DenseCurvature((H + H.T) / 2), pattern), 0.0)
    search._cutoff = math.inf  # the bound itself is wanted, not that the incumbent is as good
    _, bound, _, _ = search._bounded(search._heap[0], state_of(pattern), 0.0)
    block = search._block
    A, c = [[Fraction(x) for x in row] for row in block.H.tolist()], [Fraction(x) for x in block.c.tolist()]
    masks = itertools.combinations(range(KEPT, n), room)
    best = min(exact_minimum(A, c, [*range(KEPT), *mask]) for mask in masks)
    assert Fraction(bound) <= best


def test_what_is_needed_is_what_proves() -> None:
    node = Elimination(value=1.0, drift=0.01, stretch=1.001)
    for value in (1.0, 1.5, 40.0):
        assert math.isclose(float(node.proves(np.array(node.needs(value)))), value, rel_tol=1e-12)
    assert node.proves(np.array([-np.inf, 1e-9, np.inf])).tolist() == [1.0 - 1e-4, 1.0 - 1e-4, np.inf]


def test_round_off_by_hand() -> None:
    """H = 4I, two weights, one kept: Σ√H_jj|d_j| = 2, Σ√H_jj|x_j| = 4, the trace is 8."""
    node = Elimination.of(4.0 * np.eye(2), np.array([1.0, 2.0]), np.array([-1.0, 0.0]), 1, 3.0, 2.0)
    assert node.value == 3.0
    assert math.isclose(node.drift, (2 * (2 + 2) * 2 + 4) * EPS * math.sqrt(8 / (2 * 2)), rel_tol=1e-12)
    assert node.stretch == 1.0 + (16 + 2 * (1 + 1) * 8 / 2) * EPS


def test_a_singular_node_proves_nothing() -> None:
    node = Elimination.of(np.eye(2), np.zeros(2), np.zeros(2), 1, 3.0, 0.0)
    assert node.proves(np.array([1.0, math.inf])).tolist() == [-math.inf, -math.inf]
    assert node.needs(-1.0) == math.inf


@pytest.mark.parametrize("seed", range(20))
def test_a_step_from_a_computed_point_loses_no_more_than_is_taken_off(seed: int) -> None:
    """f(x) + rᵀe + V ≥ what is proven, for any e in the direction against r, which is the worst."""
    rng = np.random.default_rng(seed)
    node = Elimination(value=rng.normal(), drift=10.0 ** rng.uniform(-6, 0), stretch=1.0 + 10.0 ** rng.uniform(-9, -1))
    V = 10.0 ** rng.uniform(-8, 4, 50)
    # What the bound sees of V is at most V·stretch; the linear term is at most 2ε√V.
    least = node.value + V - 2.0 * node.drift * np.sqrt(V)
    assert (node.proves(node.stretch * V) <= least + 1e-12 * (1.0 + V)).all()
    assert (node.proves(node.stretch * V) >= node.value - node.drift**2 * (1.0 + 1e-12)).all()


def test_a_curvature_below_one_is_no_singular_one() -> None:
    node = Elimination.of(0.25 * np.eye(2), np.ones(2), np.zeros(2), 1, 3.0, 0.25)
    assert 3.0 < float(node.proves(np.array([1.0]))[0]) < 4.0


@pytest.mark.parametrize("seed", range(30))
def test_what_is_needed_is_enough_in_rational_numbers(seed: int) -> None:
    """√(needs/stretch) ≥ ε + √(ε² + left), both sides squared until no root is left."""
    rng = np.random.default_rng(seed)
    drift, stretch = 10.0 ** rng.uniform(-6, 0), 1.0 + 10.0 ** rng.uniform(-15, -1)
    node = Elimination(value=1.0, drift=drift, stretch=stretch)
    for value in 1.0 + 10.0 ** rng.uniform(-9, 3, 40):
        seen = Fraction(node.needs(float(value))) / Fraction(stretch)
        square, left = Fraction(drift) ** 2, Fraction(float(value)) - 1
        rest = seen - square - (square + left)
        assert rest >= 0
        assert rest**2 >= 4 * square * (square + left)
        assert seen <= (2 * square + left + 2 * Fraction(drift * math.sqrt(drift**2 + float(left)))) * Fraction(
            1 + 16 * EPS
        )
