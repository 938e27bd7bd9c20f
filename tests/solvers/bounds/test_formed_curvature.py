"""Bounds where H was rounded when it was formed of the user's arrays: against fractions, with no tolerance at all."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from from_root import import_from_root

from cbs_opt import (
    Cardinality,
    DenseCurvature,
    DiagonalCurvature,
    FactorCurvature,
    PruningProblem,
    RowsCurvature,
    lower_bound,
    solve,
)
from cbs_opt.errors import NotPositiveDefiniteError
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.curvature.second_moment import second_moment

REPORTED = [
    (200, (1.6345273902329174, 1.9684008466044958), 1e-10),
    (100, (1.5910979421640998, 1.0776052928155069), 1.1139007710858866e-11),
]
"""Factors of equal rows: how many, the row, λ. Their bounds were 3 % and 1.7 % above the optimum."""


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are run from the repository root and are no part of the package."""
    import_from_root(monkeypatch, "benchmarks")


def optimum(m: int, row: tuple[float, float], damping: float) -> Fraction:
    """Of weights (1, 1), one of them pruned: ½/(H⁻¹)_ii = ½ det H/H_jj."""
    a, b, lam = (Fraction(value) for value in (*row, damping))
    determinant = (m * a * a + lam) * (m * b * b + lam) - (m * a * b) ** 2
    return determinant / (2 * max(m * a * a + lam, m * b * b + lam))


@pytest.mark.parametrize("method", ["lower_bound", "bnb", "highs-oa", "enumeration"])
@pytest.mark.parametrize(("m", "row", "damping"), REPORTED)
def test_many_equal_rows(m: int, row: tuple[float, float], damping: float, method: str) -> None:
    problem = PruningProblem([1, 1], FactorCurvature(np.tile(row, (m, 1)), damping), Cardinality(2, 1))
    bound = lower_bound(problem).value if method == "lower_bound" else solve(problem, method).bound
    best = optimum(m, row, damping)
    assert Fraction(bound) <= best
    assert bound >= 0.9 * float(best)


@pytest.mark.parametrize("factors", [True, False])
def test_no_bound_above_the_optimum_in_fractions(factors: bool) -> None:
    from benchmarks.exact.rounding import fuzz

    for row in fuzz(30, 20_000, factors, ("lower_bound", "dual", "enumeration", "bnb", "bnb-selection")):
        assert row["violations"] == []
        assert row["weak"] == []
        assert row["blocks"] - row["refused"] >= 5


@pytest.mark.parametrize("seed", range(40))
def test_second_moment_is_exact_to_within_its_slack(seed: int) -> None:
    """x_i²e_i covers what is missing in every direction: here by Gershgorin's theorem, in fractions."""
    from benchmarks.exact.rounding import moment, samples

    rng = np.random.default_rng(seed)
    n, divisor = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    A = samples(rng, n, 600)
    damping = float(rng.choice([0.0, 1e-9, 1.0]))
    H, slack = second_moment(A, damping, divisor)
    exact = moment(A, damping, divisor)
    unit = [Fraction(float(np.sqrt(value or 1.0))) for value in H.diagonal()]
    for i in range(n):
        missing = sum((abs(exact[i][j] - Fraction(float(H[i, j]))) / unit[j] for j in range(n)), Fraction(0))
        assert missing * unit[i] <= Fraction(float(slack[i]))
        assert slack[i] <= 2.0 * n * np.finfo(np.float64).eps * H[i, i]


def test_second_moment_of_integers_loses_nothing() -> None:
    A = np.random.default_rng(0).integers(-1000, 1000, (3000, 5)).astype(np.float64)
    H, slack = second_moment(A, 0.5)
    assert (A.T @ A + 0.5 * np.eye(5) == H).all()
    assert not slack.any()


def test_a_given_matrix_is_its_own_lower_bound() -> None:
    given = DenseCurvature([[2.0, 0.3], [0.3, 1.0]])
    assert given.below() is given
    assert DenseCurvature([[2.0, 0.3], [0.3, 1.0]], 0.5).below().dense()[0, 0] == 2.5
    rows = RowsCurvature(given, 3)
    assert rows.below() is rows


@pytest.mark.parametrize(
    ("curvature", "exact"),
    [
        (DenseCurvature([[1.0, 0.0], [0.0, 1.0]], 1e-17), 1 + Fraction(1e-17)),
        (DenseCurvature([[1.0, 0.0], [0.0, 1.0]], 2e-16), 1 + Fraction(2e-16)),
        (DiagonalCurvature([1.0, 1.0], 2e-16), 1 + Fraction(2e-16)),
    ],
)
def test_damping_that_is_rounded_up_is_not_counted(curvature: Curvature, exact: Fraction) -> None:
    """1 + 2e-16 rounds to 1 + 2.2e-16: pruning a weight of 1 costs half of what the user's sum is, and no more."""
    bound = lower_bound(PruningProblem([1, 1], curvature, Cardinality(2, 1))).value
    assert Fraction(curvature.below().dense()[0, 0]) <= exact
    assert Fraction(bound) <= exact / 2


def test_an_asymmetric_matrix_means_its_symmetric_part() -> None:
    up = np.nextafter(0.3, 1.0)
    curvature = DenseCurvature([[1.0, 0.3], [up, 1.0]])
    low = curvature.below().dense()
    middle = (Fraction(0.3) + Fraction(float(up))) / 2
    error = abs(Fraction(float(low[0, 1])) - middle)
    assert error > 0
    assert Fraction(float(low[0, 0])) <= 1 - error
    assert Fraction(float(low[1, 1])) <= 1 - error


def test_a_damping_lost_in_the_entries_of_the_factor_is_refused() -> None:
    """A = G/√m with an error of one eps an entry: λ far below eps·‖A‖² proves nothing."""
    G = np.random.default_rng(0).normal(size=(3, 5))
    problem = PruningProblem.from_gradients(np.ones(5), G, damping=1e-18).pruning(2)
    with pytest.raises(NotPositiveDefiniteError, match="damping"):
        lower_bound(problem)
