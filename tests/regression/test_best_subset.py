"""Best subsets against enumeration in rational arithmetic, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import cbs_opt
from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.regression.columns import Columns

Column = list[Fraction]


def dot(a: Column, b: Column) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction())


def centred(column: Sequence[float], intercept: bool) -> Column:
    exact = [Fraction(x) for x in column]
    mean = sum(exact, Fraction()) / len(exact) if intercept else Fraction()
    return [x - mean for x in exact]


def solved(rows: list[Column]) -> Column:
    """The solution of a linear system (its right-hand side last), by elimination without rounding."""
    for pivot, row in enumerate(rows):
        for below in rows[pivot + 1 :]:
            times = below[pivot] / row[pivot]
            below[pivot:] = [x - times * y for x, y in zip(below[pivot:], row[pivot:], strict=True)]
    x = [Fraction()] * len(rows)
    for i in reversed(range(len(rows))):
        x[i] = (rows[i][-1] - dot(rows[i][i + 1 : -1], x[i + 1 :])) / rows[i][i]
    return x


def least(
    X: NDArray[np.float64], y: NDArray[np.float64], k: int, ridge: float, intercept: bool = True, scaled: bool = False
) -> tuple[Fraction, tuple[int, ...]]:
    """min rss/(2m) + ½·ridge·Σ v_j w_j² over all subsets of k columns; v_j is column j's mean square if scaled, else 1.

    All sums are exact; a coefficient of a column of unit mean square is √v_j times that of the column as it is.
    """
    m = len(y)
    columns, response = [centred(x, intercept) for x in X.T.tolist()], centred(y.tolist(), intercept)
    best: tuple[Fraction, tuple[int, ...]] | None = None
    for chosen in combinations(range(len(columns)), k):
        kept = [columns[j] for j in chosen]
        price = [Fraction(ridge) * (dot(x, x) / m if scaled else 1) for x in kept]
        slope = [dot(x, response) / m for x in kept]
        system = [
            [dot(a, b) / m + price[i] * (i == j) for j, b in enumerate(kept)] + [slope[i]] for i, a in enumerate(kept)
        ]
        value = dot(response, response) / (2 * m) - dot(slope, solved(system)) / 2
        if best is None or value < best[0]:
            best = value, chosen
    assert best is not None
    return best


def drawn(seed: int, m: int = 14, p: int = 7, far: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(m, p)) @ rng.normal(size=(p, p)) + far * rng.normal(size=p)
    return X, X @ rng.normal(size=p) + rng.normal(size=m)


@pytest.mark.parametrize("far", [0.0, 1e6])
@pytest.mark.parametrize(("intercept", "standardize"), [(True, False), (True, True), (False, False), (False, True)])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_it_is_the_best_of_all_subsets(intercept: bool, standardize: bool, ridge: float, far: float) -> None:
    for seed, k in ((0, 1), (1, 3), (2, 5), (3, 7)):
        X, y = drawn(seed, far=far)
        found = cbs_opt.best_subset(X, y, k, ridge=ridge, intercept=intercept, standardize=standardize)
        optimum, support = least(X, y, k, ridge, intercept, standardize)
        assert Fraction(found.bound) <= optimum
        if far and not intercept:
            continue  # the columns are nearly alike then, to the digits that float64 has
        assert found.solution_status == "optimal"
        assert found.objective == pytest.approx(float(optimum), rel=1e-6 + 1e-16 * far**2)
        if far == 0.0:
            assert found.support.tolist() == list(support)


def test_the_bound_holds_where_columns_are_nearly_alike_and_far_from_zero() -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(9, 5))
        X[:, 3] = X[:, 2] * (1 + 1e-6 * rng.normal(size=9))
        X += 1e3 * rng.normal(size=5)
        y = X @ rng.normal(size=5) + 0.1 * rng.normal(size=9)
        found = cbs_opt.best_subset(X, y, 3, ridge=1e-9)
        assert Fraction(found.bound) <= least(X, y, 3, 1e-9)[0]


def test_centring_and_scaling_stay_within_the_error_they_state() -> None:
    for seed, far in ((0, 0.0), (1, 1.0), (2, 1e5), (3, 1e12)):
        X, _ = drawn(seed, m=20, p=3, far=far)
        for intercept, scaled in ((True, False), (True, True), (False, True)):
            columns = Columns.of(X, centred=intercept, scaled=scaled)
            for j, column in enumerate(X.T.tolist()):
                exact = centred(column, intercept)
                size = (dot(exact, exact) / 20) if scaled else Fraction(1)
                s = Fraction(math.isqrt(math.floor(size * 10**120)), 10**60)  # to 60 digits
                distance = sum(
                    (Fraction(v) - x / s) ** 2 for v, x in zip(columns.values[:, j].tolist(), exact, strict=True)
                )
                assert distance <= Fraction(float(columns.error[j])) ** 2 + Fraction(1, 10**80)


def test_what_is_returned_is_in_the_units_of_the_data() -> None:
    X, y = drawn(5, far=30.0)
    found = cbs_opt.best_subset(X, y, 3, standardize=True)
    design = np.column_stack([np.ones(len(y)), X[:, found.support]])
    fitted, rss, *_ = np.linalg.lstsq(design, y, rcond=None)
    assert found.coefficients[found.support] == pytest.approx(fitted[1:], rel=1e-9)
    assert np.count_nonzero(found.coefficients) == 3
    assert found.intercept == pytest.approx(fitted[0], rel=1e-8)
    assert found.rss == pytest.approx(rss[0], rel=1e-9)
    assert found.r2 == pytest.approx(1 - rss[0] / np.sum((y - y.mean()) ** 2), rel=1e-9)
    assert found.objective == pytest.approx(found.rss / (2 * len(y)), rel=1e-9)
    assert "3 of 7 columns, proven optimal" in str(found)
    assert found.to_dict()["support"] == found.support.tolist()


def test_more_columns_than_rows_with_a_ridge() -> None:
    X, y = drawn(6, m=6, p=9)
    found = cbs_opt.best_subset(X, y, 2, ridge=0.1)
    optimum, support = least(X, y, 2, 0.1)
    assert found.support.tolist() == list(support)
    assert Fraction(found.bound) <= optimum
    assert found.gap <= 1e-6


def test_a_response_that_the_ridge_would_drown() -> None:
    X, y = drawn(7)
    for scale in (1e-9, 1e9):
        found = cbs_opt.best_subset(X, y * scale, 3, ridge=0.5)
        optimum, support = least(X, y * scale, 3, 0.5)
        assert found.support.tolist() == list(support)
        assert found.objective == pytest.approx(float(optimum), rel=1e-9)
        assert Fraction(found.bound) <= optimum


def test_a_certificate_proves_the_bound_again() -> None:
    from cbs_opt.proof import prove, verify

    X, y = drawn(8)
    found = cbs_opt.best_subset(X, y, 3, ridge=1e-3)
    verification = verify(found.problem, prove(found.problem))
    assert verification.gap < 2e-6
    assert verification.objective == pytest.approx(float(least(X, y, 3, 1e-3)[0]), rel=1e-9)


@pytest.mark.parametrize("standardize", [False, True])
def test_columns_of_any_units_have_the_same_best_subset(standardize: bool) -> None:
    X, y = drawn(0)
    for scale in (1e-120, 1e-60, 1e60):
        if scale > 1 and not standardize:
            continue  # the curvature's own squares are beyond float64 then
        units = np.where(np.isin(np.arange(7), (2, 4)), scale, 1.0)
        found = cbs_opt.best_subset(X * units, y, 3, ridge=0.1, standardize=standardize)
        optimum, support = least(X * units, y, 3, 0.1, scaled=standardize)
        assert found.support.tolist() == list(support)
        assert Fraction(found.bound) <= optimum


def test_columns_whose_squares_vanish_or_overflow_are_refused() -> None:
    # Standardized, a column of 1e-163 was left as it is, and a better subset with it called impossible.
    X, y = drawn(0)
    for scale in (1e-160, 1e-163, 5e-324, 1e155, 1e300):
        for intercept, standardize in ((True, True), (False, True), (True, False)):
            units = np.where(np.arange(7) == 4, scale, 1.0)
            with pytest.raises(InputError, match=r"X: column 4 has a largest entry of .* other units"):
                cbs_opt.best_subset(X * units, y, 3, ridge=0.1, intercept=intercept, standardize=standardize)
        with pytest.raises(InputError, match=r"y has a largest entry of .* other units"):
            cbs_opt.best_subset(X, y * scale, 3, ridge=0.1)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"k": 0}, "k: is 0; a whole number between 1 and the 7 columns of X is needed"),
    ({"k": 8}, "k: is 8; a whole number between 1 and the 7 columns of X is needed"),
    ({"k": 2.5}, "k: is 2.5; a whole number"),
    ({"k": True}, "k: is True; a whole number"),
    ({"X": np.ones(14)}, "X: has shape (14,); 2 axes are needed"),
    ({"y": np.ones((14, 1))}, "y: has shape (14, 1); one axis is needed, as .ravel() leaves it"),
    ({"y": np.arange(13.0)}, "y: has 13 entries, but X has 14 rows; they must agree"),
    ({"y": np.ones(14)}, "y: is constant; there is nothing to explain"),
    ({"y": np.zeros(14), "intercept": False}, "y: is zero throughout; there is nothing to explain"),
    ({"ridge": -1.0}, "ridge: is -1.0; a finite number ≥ 0 is needed"),
    ({"ridge": float("nan")}, "ridge: is nan; a finite number ≥ 0 is needed"),
]


@pytest.mark.parametrize(("given", "sentence"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_input_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    X, y = drawn(0)
    with pytest.raises(InputError) as raised:
        cbs_opt.best_subset(**{"X": X, "y": y, "k": 3, **given})
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)


def test_bad_columns_are_named() -> None:
    X, y = drawn(0)
    X[3, 2] = np.nan
    with pytest.raises(InputError, match=r"X: entry \(3, 2\) is nan; all entries must be finite"):
        cbs_opt.best_subset(X, y, 2)
    X[:, 2] = 0.1
    with pytest.raises(InputError, match="X: column 2 is constant, so that it explains nothing; leave it out"):
        cbs_opt.best_subset(X, y, 2)
    X[:, 2] = 0.0
    with pytest.raises(InputError, match="X: column 2 is zero throughout"):
        cbs_opt.best_subset(X, y, 2, intercept=False)
    X[:, 2] = X[:, 0] + X[:, 1]
    with pytest.raises(InputError, match=r"depend linearly .* give a ridge of at least") as raised:
        cbs_opt.best_subset(X, y, 2)
    ridge = float(str(raised.value).rpartition(" ")[2])
    assert cbs_opt.best_subset(X, y, 2, ridge=ridge).solution_status == "optimal"
    with pytest.raises(TooLargeError, match="X: has 1,000 columns; branch and bound takes at most 999"):
        cbs_opt.best_subset(np.ones((3, 1000)), np.arange(3.0), 2)
