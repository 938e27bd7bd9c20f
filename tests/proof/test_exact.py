"""Exact numbers, and the proof of semidefiniteness: never wrong, and not far from as sharp as float64 allows."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, PruningProblem
from cbs_opt.errors import TooLargeError
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, DiagonalCurvature, FactorCurvature
from cbs_opt.proof import NotVerifiedError
from cbs_opt.proof.check import exact_model
from cbs_opt.proof.check.definite import Definiteness
from cbs_opt.proof.check.exact_model import ExactModel
from cbs_opt.proof.check.integers import above, below, exponent_of, fraction, integers, nearest, shifted
from cbs_opt.testing.instances import random_problem

SEEDS = st.integers(0, 2**32 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, min_size=1, max_size=6))
def test_floats_are_integers_times_a_power_of_two(values: list[float]) -> None:
    array = np.array(values)
    exponent = exponent_of(array)
    assert [fraction(value, exponent) for value in integers(array, exponent)] == [Fraction(v) for v in values]


@given(st.fractions(), st.integers(-900, 900))
def test_below_and_above_enclose_as_tightly_as_possible(value: Fraction, power: int) -> None:
    value = value * Fraction(2) ** power
    low, high = below(value), above(value)
    assert Fraction(low) <= value <= Fraction(high)
    assert math.nextafter(low, math.inf) >= high


@given(st.integers(-(10**30), 10**30), st.integers(-80, 80))
def test_shifts_round_downwards(value: int, places: int) -> None:
    exact = value * Fraction(2) ** places
    assert shifted(value, places) == exact.__floor__()
    assert shifted(np.array([value], dtype=object), np.array([places]))[0] == exact.__floor__()


def as_fractions(problem: PruningProblem, w: np.ndarray) -> Fraction:
    """f(w) of a dense problem, term by term."""
    H, g = problem.curvature.dense(), problem.linear_term()
    d = [Fraction(a) - Fraction(b) for a, b in zip(w.tolist(), problem.w_bar.tolist(), strict=True)]
    value = Fraction(problem.offset) + sum(Fraction(x) * y for x, y in zip(g.tolist(), d, strict=True))
    rows = zip(d, H.tolist(), strict=True)
    return value + sum(x * y * Fraction(h) / 2 for x, row in rows for y, h in zip(d, row, strict=True))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_the_model_is_the_problem_exactly(seed: int) -> None:
    problem = random_problem(seed, max_n=6)
    if problem is None:
        return
    w = np.random.default_rng(seed).normal(size=problem.n) * np.abs(problem.w_bar).max()
    model = ExactModel.of(problem)
    assert model.value(w) == as_fractions(problem, w)
    at = model.gradient(w, w * 1e-17)
    assert fraction(int(at.w[0]), at.w_exponent) == Fraction(w[0]) + Fraction(w[0] * 1e-17)


def test_a_factor_is_multiplied_out_exactly() -> None:
    rng = np.random.default_rng(1)
    A, w_bar, w = rng.normal(size=(3, 5)), rng.normal(size=5), rng.normal(size=5)
    factor = PruningProblem(w_bar, FactorCurvature(A, 1e-3))
    d = [Fraction(a) - Fraction(b) for a, b in zip(w.tolist(), w_bar.tolist(), strict=True)]
    image = [sum(Fraction(a) * x for a, x in zip(row, d, strict=True)) for row in A.tolist()]
    exact = (sum(x * x for x in image) + Fraction(1e-3) * sum(x * x for x in d)) / 2
    assert ExactModel.of(factor).value(w) == exact
    blocks = BlockDiagonalCurvature([FactorCurvature(A, 1e-3), DiagonalCurvature(np.array([2.0, 0.1]))])
    both = PruningProblem(np.append(w_bar, [1.0, 1.0]), blocks)
    assert ExactModel.of(both).value(np.append(w, [0.5, 1.0])) == exact + Fraction(1, 4)


@pytest.mark.parametrize("g_power", [-600, 0, 450])
@pytest.mark.parametrize("damping_power", [-600, 0, 450])
@pytest.mark.parametrize("factor_power", [-200, 0, 200])
def test_numbers_of_very_different_sizes(factor_power: int, damping_power: int, g_power: int) -> None:
    """d = (2, −1, ½), so that Ad = (0, 7½), ‖d‖² = 5¼ and gᵀd = −3 in their units: no bit is shifted away."""
    A, w_bar, w = np.array([[1.0, 2.0, 0.0], [3.0, -1.0, 1.0]]), np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 3.5])
    factor = FactorCurvature(A * 2.0**factor_power, 5.0 * 2.0**damping_power)
    problem = PruningProblem(w_bar, factor, g=np.array([0.0, 3.0, 0.0]) * 2.0**g_power)
    two = Fraction(2)
    curved = (Fraction(225, 4) * two ** (2 * factor_power) + Fraction(105, 4) * two**damping_power) / 2
    assert ExactModel.of(problem).value(w) == curved - 3 * two**g_power


def test_a_diagonal_is_nothing_else() -> None:
    problem = PruningProblem(np.array([1.0, 2.0, 3.0]), DiagonalCurvature(np.array([2.0, 8.0, 1.0])))
    assert ExactModel.of(problem).value(np.array([3.0, 1.0, 3.5])) == Fraction(2 * 4 + 8) / 2 + Fraction(1, 8)


def smallest_pivot(H: np.ndarray, D: np.ndarray, V: np.ndarray | None = None) -> Fraction:
    """Of LDLᵀ of H − diag(D) − VVᵀ, in rational arithmetic; ≥ 0 for positive semidefinite (a zero pivot ends it)."""
    rows = [[Fraction(x) for x in row] for row in H.tolist()]
    for i, d in enumerate(D.tolist()):
        rows[i][i] -= Fraction(d)
    for column in [] if V is None else [[Fraction(x) for x in c] for c in V.T.tolist()]:
        rows = [[a - x * y for a, y in zip(row, column, strict=True)] for row, x in zip(rows, column, strict=True)]
    pivots = []
    for k in range(len(rows)):
        pivots.append(rows[k][k])
        if rows[k][k] <= 0:
            break
        for i in range(k + 1, len(rows)):
            factor = rows[i][k] / rows[k][k]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return min(pivots)


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, distance=st.integers(8, 18), side=st.sampled_from([-1, 1]))
def test_no_indefinite_matrix_is_proven_and_few_definite_ones_are_not(seed: int, distance: int, side: int) -> None:
    """H − D is singular but for ±10^−distance of the smallest eigenvalue."""
    problem = random_problem(seed, max_n=8, linear=False)
    if problem is None:
        return
    H = problem.curvature.dense()
    scale = np.exp2(np.floor(np.log2(np.sqrt(H.diagonal()))))
    smallest = float(np.linalg.eigvalsh(H / scale / scale[:, None])[0])
    D = max(smallest, 1e-14) * (1 - side * 10.0**-distance) * scale * scale
    proven = Definiteness(ExactModel.of(problem)).proves(np.arange(problem.n), D)
    if proven:
        assert smallest_pivot(H, D) > 0
    elif side > 0 and smallest > 1e-4:
        assert distance > 9


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, distance=st.integers(8, 18), side=st.sampled_from([-1, 1]))
def test_pieces_are_subtracted_exactly(seed: int, distance: int, side: int) -> None:
    """H − D − VVᵀ is singular but for ±10^−distance of the smallest eigenvalue of H − VVᵀ."""
    problem = random_problem(seed, max_n=7, linear=False)
    if problem is None:
        return
    H, rng = problem.curvature.dense(), np.random.default_rng(seed)
    definite = Definiteness(ExactModel.of(problem))
    scale = np.exp2(-definite.t.astype(np.float64))
    V = np.zeros((problem.n, 3))
    for e in range(3):
        V[rng.integers(0, problem.n, 2), e] = rng.normal(size=2)
    S = H / scale / scale[:, None]
    V *= 0.5 * np.sqrt(max(float(np.linalg.eigvalsh(S)[0]), 1e-14)) * scale[:, None] / 3
    V = definite.on_grid(V)
    rest = S - (V / scale[:, None]) @ (V / scale[:, None]).T
    smallest = float(np.linalg.eigvalsh(rest)[0])
    D = max(smallest, 1e-14) * (1 - side * 10.0**-distance) * scale * scale
    if definite.proves(np.arange(problem.n), D, V):
        assert smallest_pivot(H, D, V) > 0
    elif side > 0 and smallest > 1e-4:
        assert distance > 9


def test_columns_off_the_grid_are_refused() -> None:
    problem = PruningProblem(np.ones(3), np.eye(3) + 0.5)
    definite = Definiteness(ExactModel.of(problem))
    V = np.array([[0.1], [0.2], [0.0]])
    assert not definite.proves(np.arange(3), np.full(3, 0.5), V)
    assert definite.proves(np.arange(3), np.full(3, 0.5), definite.on_grid(V))
    assert not definite.proves(np.arange(3), np.full(3, 0.5), np.array([[4.0], [0.0], [0.0]]))


def test_splittings_that_are_none() -> None:
    problem = PruningProblem(np.ones(3), np.eye(3) + 0.5)
    definite = Definiteness(ExactModel.of(problem))
    everything = np.arange(3)
    assert definite.proves(everything, np.full(3, 0.99))
    for D in (-1e-9, 0.0, 1.2, np.nan, np.inf, 1e300):
        assert not definite.proves(everything, np.array([0.5, 0.5, D]))
    assert definite.proves(np.array([], dtype=np.int64), np.array([]))
    assert definite.proves(np.array([1]), np.array([1.49]))
    assert not definite.proves(np.array([1]), np.array([1.51]))


@pytest.mark.parametrize("n", [200, 500])
def test_larger_matrices(n: int) -> None:
    rng = np.random.default_rng(n)
    A = rng.normal(size=(n // 2, n))
    H = A.T @ A / n + 1e-5 * np.eye(n)
    problem = PruningProblem(np.ones(n), (H + H.T) / 2, pattern=Cardinality(n, 1))
    definite = Definiteness(ExactModel.of(problem))
    assert definite.proves(np.arange(n), np.full(n, 0.99999e-5))
    assert not definite.proves(np.arange(n), np.full(n, 1.00001e-5))


@pytest.mark.parametrize("value", [Fraction(2) ** 1024, Fraction(10) ** 400, Fraction(2) ** 1024 - Fraction(2) ** 969])
def test_below_and_above_where_float64_ends(value: Fraction) -> None:
    """A number above the largest float64 has that below it and infinity above it; rounding must not jump there."""
    largest = float(np.finfo(np.float64).max)
    assert (below(value), above(value)) == (largest, math.inf)
    assert (below(-value), above(-value)) == (-math.inf, -largest)
    assert below(Fraction(largest)) == above(Fraction(largest)) == largest


def test_guesses_beyond_float64_are_infinite() -> None:
    assert nearest(np.array([3, -1, 1], dtype=object), 1023).tolist() == [math.inf, -(2.0**1023), 2.0**1023]
    assert nearest(np.array([5, -5], dtype=object), 2000).tolist() == [math.inf, -math.inf]


def test_what_is_too_large_for_exact_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    four, three = (PruningProblem(np.ones(n), np.eye(n)) for n in (4, 3))
    monkeypatch.setattr(exact_model, "MOST_WEIGHTS", 3)
    assert ExactModel.of(three).n == 3
    with pytest.raises(TooLargeError, match="takes at most 3 weights on a dense curvature, not 4"):
        ExactModel.of(four)
    factor = FactorCurvature(np.ones((2, 3)), 1.0)
    monkeypatch.setattr(exact_model, "MOST_PRODUCTS", 2 * 3 * 3)
    ExactModel.of(PruningProblem(np.ones(3), factor))
    twice = BlockDiagonalCurvature([factor, DiagonalCurvature(np.ones(2)), factor])
    monkeypatch.setattr(exact_model, "MOST_WEIGHTS", 8)
    ExactModel.of(PruningProblem(np.ones(8), twice))  # the same block is multiplied out once
    monkeypatch.setattr(exact_model, "MOST_PRODUCTS", 2 * 3 * 3 - 1)
    for curvature in (factor, twice):
        with pytest.raises(TooLargeError, match="takes too long; use the dual certificate"):
            ExactModel.of(PruningProblem(np.ones(curvature.n), curvature))


@pytest.mark.parametrize("entry", [0, -1])
def test_a_diagonal_that_is_not_positive_is_refused(entry: int) -> None:
    model = ExactModel.of(PruningProblem(np.ones(2), np.eye(2)))
    H = model.H.copy()
    H[1, 1] = entry
    with pytest.raises(NotVerifiedError, match="the diagonal of H is not positive"):
        Definiteness(replace(model, H=H))
