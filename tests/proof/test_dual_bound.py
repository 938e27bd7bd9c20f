"""The dual bound of a certificate against its formulas in rational numbers, and its intervals against the truth."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import PruningProblem
from cbs_opt.errors import UnsupportedError
from cbs_opt.kernel.curvature import DenseCurvature, DiagonalCurvature, FactorCurvature
from cbs_opt.proof import Limits, NotVerifiedError
from cbs_opt.proof.check import dual
from cbs_opt.proof.check.dual import _half_square, _times, dual_choice, dual_value, takes

SEEDS = st.integers(0, 2**32 - 1)
U = Fraction(1, 2**53)


def fractions(array: np.ndarray) -> list[Fraction]:
    return [Fraction(x) for x in array.tolist()]


def drawn(seed: int) -> tuple[PruningProblem, np.ndarray, Limits]:
    """A factor, a point of its samples, weights of any size and sign, and what may be kept of them."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(1, 4)), int(rng.integers(2, 6))
    A = rng.normal(size=(m, n)) * 10.0 ** rng.integers(-3, 4)
    factor = FactorCurvature(A, 10.0 ** rng.uniform(-3, 2))
    w_bar = rng.normal(size=n) * 10.0 ** rng.integers(-3, 4)
    g = rng.normal(size=n) if rng.random() < 0.5 else None
    role = rng.integers(0, 5, n)
    keep, forbid = role == 0, role == 1
    prune = int(rng.integers(0, n - int(keep.sum()) + 1))
    problem = PruningProblem(w_bar, factor, g=g, offset=float(rng.integers(0, 2)))
    return problem, rng.normal(size=m), Limits.cardinality(prune, keep, forbid)


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, caution=st.sampled_from([1.0, 4.0, 1e6, 1e13]))
def test_the_bound_is_that_of_the_worst_gradient_in_its_interval(seed: int, caution: float) -> None:
    """With |y_i| up to slack_i off, a kept weight costs −(|y| + slack)²/2λ, a pruned one ½λw̄² − yw̄ − slack·|w̄|."""
    problem, alpha, limits = drawn(seed)
    A, damping = dual.parts(problem)
    image, error = _times(A.T, alpha)
    slack = [Fraction(caution * e) for e in error.tolist()]
    y = [a + b for a, b in zip(fractions(image), fractions(problem.linear_term()), strict=True)]
    lam, w_bar = fractions(damping), fractions(problem.w_bar)
    n = problem.n
    kept = [-((abs(y[i]) + slack[i]) ** 2) / (2 * lam[i]) for i in range(n)]
    pruned = [lam[i] * w_bar[i] ** 2 / 2 - y[i] * w_bar[i] - slack[i] * abs(w_bar[i]) for i in range(n)]
    constant = Fraction(problem.offset) - sum(x * x for x in fractions(alpha)) / 2

    def least(must: set[int], never: set[int]) -> Fraction | None:
        free = [i for i in range(n) if i not in must | never]
        room = n - limits.prune - len(must)
        # A kept weight may be zero, too; so a mask of fewer weights is never needed.
        sets = [must | set(more) for size in range(len(free) + 1) for more in combinations(free, size) if size <= room]
        costs = [sum(kept[i] if i in S else pruned[i] for i in range(n)) for S in sets]
        return constant + min(costs) if room >= 0 else None

    must, never = set(np.flatnonzero(limits.keep).tolist()), set(np.flatnonzero(limits.forbid).tolist())
    chosen = dual_choice(problem, limits, alpha, caution)
    exact = least(must, never)
    assert exact is not None
    size = abs(constant) + sum(map(abs, kept)) + sum(map(abs, pruned))
    assert exact - size * Fraction(1, 2**60) <= chosen.bound <= exact
    assert all(k <= p for k, p in zip(kept, pruned, strict=True))


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS)
def test_the_error_of_a_product_covers_any_order_of_summation(seed: int) -> None:
    """γ_k|M||x| for the sum and u|M||x| for the rounding of x, also where the entries cancel; hardly more than that."""
    rng = np.random.default_rng(seed)
    m, k = int(rng.integers(1, 4)), int(rng.integers(1, 30))
    M = rng.normal(size=(m, k)) * 10.0 ** rng.uniform(-5, 5, (m, k))
    x = rng.normal(size=k)
    if k > 1:
        M[:, 0] = -(M[:, 1:] @ x[1:]) / x[0]
    image, error = _times(M, x)
    gamma = k * U / (1 - k * U)
    for row, value, given_error in zip(M, image.tolist(), error.tolist(), strict=True):
        products = [a * b for a, b in zip(fractions(row), fractions(x), strict=True)]
        spread = sum(map(abs, products))
        assert abs(Fraction(value) - sum(products)) <= Fraction(given_error)
        assert (gamma + U) * spread <= Fraction(given_error) <= (k + 9) * U * spread * Fraction(102, 100)


def test_a_product_in_chunks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    M, x = rng.normal(size=(10, 3)), rng.normal(size=3)
    image, error = _times(M, x)
    monkeypatch.setattr(dual, "CHUNK", 4)
    np.testing.assert_array_equal(_times(M, x)[0], image)
    np.testing.assert_allclose(_times(M, x)[1], error, rtol=1e-15)


def test_products_that_underflow() -> None:
    """1e-200 squared is nothing in float64; the error is what may have been lost, at every size of the other factor."""
    image, error = _times(np.full((1, 2), 1e-200), np.full(2, 1e-200))
    assert image.tolist() == [0.0]
    assert 2 * Fraction(1e-200) ** 2 < Fraction(error[0]) < 1e-300
    # An entry flushed to zero, 2^-1023 at the most, may have met the largest number of the other side.
    for M, x in ((np.array([[1e200, 0.0]]), np.array([0.0, 1.0])), (np.array([[1.0, 0.0]]), np.array([0.0, 1e200]))):
        assert _times(M, x)[1][0] >= 1e200 * 2.0**-1023


@pytest.mark.parametrize("M", [[[1e300, 1.0]], [[1e300, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1e300, -1e300]]])
def test_products_that_overflow_are_refused(M: list[list[float]]) -> None:
    with pytest.raises(NotVerifiedError, match="the numbers overflow in float64"):
        _times(np.array(M), np.array([1e300, 1e300]))


def test_a_sum_that_cancels_and_whose_error_overflows_is_refused() -> None:
    with pytest.raises(NotVerifiedError, match="the numbers overflow in float64"):
        _times(np.array([[1.2e308, -1.2e308]]), np.ones(2))


def test_nothing_times_nothing() -> None:
    for M, x in ((np.zeros((3, 0)), np.zeros(0)), (np.zeros((0, 3)), np.ones(3))):
        image, error = _times(M, x)
        assert image.tolist() == error.tolist() == [0.0] * len(M)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_half_a_square_at_its_farthest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, error = rng.normal(size=3) * 10.0 ** rng.integers(-9, 9, 3), np.abs(rng.normal(size=3)) * 0.1
    exact = sum((abs(a) + b) ** 2 for a, b in zip(fractions(x), fractions(error), strict=True)) / 2
    assert _half_square(x, error) == exact
    assert _half_square(x[:0], error[:0]) == 0


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS)
def test_the_value_is_no_less_than_the_loss_and_hardly_more(seed: int) -> None:
    problem, _, _ = drawn(seed)
    rng = np.random.default_rng(seed)
    w = problem.w_bar + rng.normal(size=problem.n)
    A, damping = dual.parts(problem)
    d = [a - b for a, b in zip(fractions(w), fractions(problem.w_bar), strict=True)]
    image = [sum(a * x for a, x in zip(fractions(row), d, strict=True)) for row in A]
    squares = sum(x * x for x in image) + sum(a * x * x for a, x in zip(fractions(damping), d, strict=True))
    linear = sum(a * x for a, x in zip(fractions(problem.linear_term()), d, strict=True))
    exact = Fraction(problem.offset) + linear + squares / 2
    spread = sum(sum(abs(a * x) for a, x in zip(fractions(row), d, strict=True)) ** 2 for row in A)
    assert exact <= dual_value(problem, w) <= exact + spread * Fraction(1, 2**45)


def test_which_curvatures_it_is_for() -> None:
    factor = PruningProblem(np.ones(2), FactorCurvature(np.ones((1, 2)), 1.0))
    dense = PruningProblem(np.ones(2), DenseCurvature(np.eye(2)))
    assert takes(factor)
    assert not takes(dense)
    A, damping = dual.parts(PruningProblem(np.ones(2), DiagonalCurvature(np.array([2.0, 3.0]))))
    assert (A.shape, damping.tolist()) == ((0, 2), [2.0, 3.0])
    with pytest.raises(UnsupportedError, match="the dual certificate is for factored curvatures, this one is dense"):
        dual.parts(dense)
