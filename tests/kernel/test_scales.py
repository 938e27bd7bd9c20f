"""Scales at which squares vanish or overflow are refused: bounds of such problems lay above the optimum."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from cbs_opt import FactorCurvature, PruningProblem, Quotas, RowsCurvature, lower_bound
from cbs_opt.errors import InputError
from cbs_opt.kernel.curvature import Curvature, DiagonalCurvature

A = np.array([[1.0, 2, 3, 5], [2, -1, 1, 1]])
W = np.array([1.0, -1, 2, 1])


def rows_of(factor: np.ndarray, damping: float) -> Curvature:
    return RowsCurvature(factor.T @ factor + damping * np.eye(4), 1)


@pytest.mark.parametrize("curvature", [FactorCurvature, rows_of])
@pytest.mark.parametrize(
    ("of_A", "of_w"), [(1e-80, 1.0), (1e-78, 1.0), (1e-30, 1e-100), (1.0, 1e-160), (1e80, 1.0), (1.0, 1e150)]
)
def test_squares_that_vanish_or_overflow_are_refused(curvature: type, of_A: float, of_w: float) -> None:
    with pytest.raises(InputError, match="other units"):
        PruningProblem(W * of_w, curvature(A * of_A, 1e-3 * of_A**2))


@pytest.mark.parametrize("curvature", [FactorCurvature, rows_of])
@pytest.mark.parametrize(("of_A", "of_w"), [(2.0**-225, 1.0), (2.0**-60, 2.0**-330), (2.0**220, 1.0), (1.0, 2.0**400)])
def test_bounds_at_the_ends_of_what_is_taken(curvature: type, of_A: float, of_w: float) -> None:
    """Powers of two change no digit, so the optimum is that of the plain problem, times the units."""
    damping = 2.0**-10
    problem = PruningProblem(W * of_w, curvature(A * of_A, damping * of_A**2), pattern=Quotas([2, 2], [1, 1]))
    bound = Fraction(lower_bound(problem).value) / (Fraction(of_A) ** 2 * Fraction(of_w) ** 2)
    H = [
        [sum(Fraction(a) * Fraction(b) for a, b in zip(A[:, i], A[:, j], strict=True)) for j in range(4)]
        for i in range(4)
    ]
    for i in range(4):
        H[i][i] += Fraction(damping)
    assert 0 <= bound <= min(best(H, kept) for kept in product((0, 1), (2, 3)))


def best(H: list[list[Fraction]], kept: tuple[int, int]) -> Fraction:
    """½ dᵀHd with d = −w̄ on the pruned weights and no gradient on the two kept ones, by Cramer's rule."""
    i, j = kept
    d = [Fraction(0) if k in kept else -Fraction(W[k]) for k in range(4)]
    r = {k: -sum(H[k][p] * d[p] for p in range(4)) for k in kept}
    det = H[i][i] * H[j][j] - H[i][j] ** 2
    d[i], d[j] = (r[i] * H[j][j] - H[i][j] * r[j]) / det, (H[i][i] * r[j] - H[i][j] * r[i]) / det
    return sum(d[p] * H[p][q] * d[q] for p in range(4) for q in range(4)) / 2


def test_a_first_order_term_whose_square_overflows_is_refused() -> None:
    with pytest.raises(InputError, match=r"g: has an entry 1e\+141, whose square float64 cannot hold"):
        PruningProblem(W, np.eye(4), g=np.array([0.0, -1e141, 0.0, 1.0]))


def test_a_loss_that_vanishes_is_refused_though_weights_and_curvature_do_not() -> None:
    """The large weight has next to no curvature, and the large curvature belongs to the small weight."""
    with pytest.raises(InputError, match="w: w_i²H_ii is of the order 2e-300, outside what float64 can add up"):
        PruningProblem(np.array([1e-130, 1e-160]), DiagonalCurvature(np.array([1e-60, 1e20])))
