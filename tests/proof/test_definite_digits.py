"""The integer arithmetic under the proof of semidefiniteness, piece by piece, against Python's own integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import PruningProblem
from cbs_opt.proof.check import definite
from cbs_opt.proof.check.definite import DIGIT, PLACES, Definiteness, _digits, _dominant, _square
from cbs_opt.proof.check.exact_model import ExactModel

SEEDS = st.integers(0, 2**32 - 1)


def value(digits: np.ndarray) -> np.ndarray:
    """Σ_k digit_k 2^(21k), as Python integers."""
    return sum(digits[k].astype(object) << (DIGIT * k) for k in range(5))


@given(st.lists(st.integers(-(2**146), 2**146 - 1), min_size=1, max_size=5))
def test_digits_are_the_number(numbers: list[int]) -> None:
    digits = _digits(np.array(numbers, dtype=object))
    assert digits.shape == (5, len(numbers))
    assert value(digits).tolist() == numbers
    assert ((digits[:4] >= 0) & (digits[:4] < 2**DIGIT)).all()


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_a_square_is_the_exact_one_of_a_matrix_rounded_to_63_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    L = np.clip(rng.normal(size=(3, 4)), -1.0, 1.0) * 2.0 ** -rng.integers(0, 40, (3, 4)).astype(float)
    rounded = np.array([[round(Fraction(x) * 2**63) for x in row] for row in L.tolist()], dtype=object)
    # round() and the rounding of the lowest digit both take the even one of two that are equally near.
    assert (value(np.array(_square(L))) == rounded.dot(rounded.T)).all()


def dominance(exact: np.ndarray) -> int:
    """The least of diagonal − Σ|off-diagonal| over the rows."""
    off_diagonal = [sum(abs(x) for j, x in enumerate(row) if j != i) for i, row in enumerate(exact.tolist())]
    return min(int(exact[i, i]) - off for i, off in enumerate(off_diagonal))


@settings(max_examples=400, deadline=None)
@given(seed=SEEDS, margin=st.integers(-6, 12), reserve=st.integers(0, 3))
def test_what_is_called_dominant_is(seed: int, margin: int, reserve: int) -> None:
    """One row is dominant but for a few units of 2^42, the first bits that are looked at; the others perhaps by far."""
    rng = np.random.default_rng(seed)
    n, unit = int(rng.integers(1, 5)), 2 ** (2 * DIGIT)
    exact = np.array([[int(x) * unit for x in row] for row in rng.integers(-(2**30), 2**30, (n, n))], dtype=object)
    exact += np.array([[int(x) for x in row] for row in rng.integers(-unit, unit, (n, n))], dtype=object)
    exact = exact + exact.T
    weakest, farther = int(rng.integers(0, n)), int(rng.choice([0, 20]))
    for i in range(n):
        off_diagonal = sum(abs(int(exact[i, j])) for j in range(n) if j != i)
        units = margin + (0 if i == weakest else farther)
        exact[i, i] = off_diagonal + units * unit + int(rng.integers(-unit, unit))
    digits = _digits(exact)
    digits[:4] += (spare := rng.integers(-(2**20), 2**20, digits[:4].shape)) << DIGIT  # digits need not be in range
    digits[1:] -= spare
    assert (value(digits) == exact).all()
    left = dominance(exact) - reserve * unit
    # Some bits below the last digit were lost in H and in D, less than one unit of 1 each.
    if _dominant(digits, float(reserve) * 2.0 ** (2 * DIGIT - PLACES)):
        assert left > 0
    else:
        assert left < 2 * (n + 1) * unit


@pytest.mark.parametrize(("diagonal", "off_diagonal", "reserve"), [(7, 5, 0), (9, 5, 2), (1, None, 0), (12, -10, 0)])
def test_one_unit_is_kept_for_what_lies_below_the_digits(diagonal: int, off_diagonal: int | None, reserve: int) -> None:
    """A diagonal may be a unit less than it says, and each of the others a unit more."""
    n = 1 if off_diagonal is None else 2
    for less in (0, 1):
        E = np.zeros((5, n, n), dtype=np.int64)
        E[2] = 0 if off_diagonal is None else off_diagonal
        E[2][np.diag_indices(n)] = diagonal - less
        assert _dominant(E, reserve * 2.0 ** (2 * DIGIT - PLACES)) is (less == 0)


def test_what_is_far_from_zero_is_not_looked_at() -> None:
    E = np.zeros((5, 2, 2), dtype=np.int64)
    E[4] = 257 * np.eye(2, dtype=np.int64)
    assert not _dominant(E, 0.0)
    E = np.zeros((5, 2, 2), dtype=np.int64)
    E[4] = 256 * np.eye(2, dtype=np.int64)
    assert _dominant(E, 0.0)


def test_columns_are_as_long_as_their_products_are_exact() -> None:
    """Sums of so many products of two integers below 2^21 fit 53 bits, and a grid of 41 bits two digits of 21."""
    assert definite.MOST_COLUMNS * 2 ** (2 * DIGIT) < 2**53
    assert definite.GRID < 2.0 ** (2 * DIGIT)


def definiteness(H: np.ndarray) -> Definiteness:
    return Definiteness(ExactModel.of(PruningProblem(np.ones(len(H)), H)))


def test_the_grid_is_as_fine_as_it_is_meant_to_be() -> None:
    """40 bits behind the point where H_ii lies in [¼, 1), and as many less for weights of larger units."""
    checked = definiteness(np.diag([0.5, 0.5 * 4.0**20]))
    V = np.array([[1.0 / 3.0, 0.0], [2.0**20 / 3.0, -(2.0**20) / 7.0]])
    nearest = [[round(Fraction(x) * 2**40) / Fraction(2**40) for x in V[0].tolist()]]
    nearest += [[round(Fraction(x) * 2**20) / Fraction(2**20) for x in V[1].tolist()]]
    assert [[Fraction(x) for x in row] for row in checked.on_grid(V).tolist()] == nearest


def test_strictly_is_with_a_margin() -> None:
    """½ − D is k units of 2^-54: from some k on it is proven, and from a larger one on also strictly."""
    checked, first = definiteness(np.array([[0.5]])), {}
    for strict in (False, True):
        proven = [checked.proves(np.array([0]), np.array([0.5 - k * 2.0**-54]), strict=strict) for k in range(200)]
        first[strict] = proven.index(True)
        assert all(proven[first[strict] :])
    assert 1 <= first[False] < first[True]


@pytest.mark.parametrize("entry", [np.nan, np.inf, -np.inf, 2.0, -1.5, 2.0**70, 0.5])
def test_a_factorization_that_is_wrong_proves_nothing(monkeypatch: pytest.MonkeyPatch, entry: float) -> None:
    """H = ¾·I + ½·(all but the diagonal) and D = ⅛ leave R with eigenvalues ⅛ and 1⅝, R = LLᵀ for the right L."""
    checked = definiteness(np.full((3, 3), 0.5) + 0.25 * np.eye(3))
    right = np.linalg.cholesky(np.full((3, 3), 0.5) + 0.125 * np.eye(3))
    assert checked.proves(np.arange(3), np.full(3, 0.125))
    for place in ((1, 0), (2, 1), (0, 2)):
        wrong = right.copy()
        wrong[place] = entry
        monkeypatch.setattr(np.linalg, "cholesky", lambda R, L=wrong: L)
        with np.errstate(invalid="ignore"):
            assert not checked.proves(np.arange(3), np.full(3, 0.125)), place
