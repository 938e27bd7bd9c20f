"""Factors in float32 refined in float64: as good as a factorization in float64, or left to it."""

from __future__ import annotations

import numpy as np
import pytest

from cbs_opt.errors import NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix
from cbs_opt.kernel.refined_rows import FROM_ORDER, solved_rows
from cbs_opt.kernel.stacks import update_rows

D, ROWS = 2 * FROM_ORDER, 7


def layer(condition: float, seed: int) -> tuple[Matrix, Matrix, Mask]:
    """H with the given condition number in units of its own, weights, and supports from empty to full."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((D, D)))[0]
    H = (Q * np.logspace(0, -np.log10(condition), D)) @ Q.T
    units = np.exp(3 * rng.standard_normal(D))
    z = rng.random((ROWS, D)) < np.linspace(0, 1, ROWS)[:, None]
    z[-1] = True
    return (H + H.T) / 2 * units * units[:, None], rng.standard_normal((ROWS, D)) / units, z


def precise(H: Matrix, w_bar: Matrix, z: Mask) -> Matrix:
    """One system a row by float64 factors, refined with residuals in extended precision."""
    scale = 1 / np.sqrt(H.diagonal())
    wide = H.astype(np.longdouble)
    w = np.zeros_like(w_bar)
    for r, S in enumerate(map(np.flatnonzero, z)):
        rhs = (wide @ w_bar[r].astype(np.longdouble))[S]
        block, unit = wide[np.ix_(S, S)], scale[S]
        inverse = np.linalg.inv(H[np.ix_(S, S)] * unit * unit[:, None])
        x = np.zeros(len(S), dtype=np.longdouble)
        for _ in range(20):
            x += unit * (inverse @ (unit * (rhs - block @ x)).astype(float))
        w[r, S] = x
    return w


def loss(H: Matrix, d: Matrix) -> Matrix:
    """½ dᵀHd of each row, in extended precision."""
    wide = d.astype(np.longdouble)
    return np.asarray(0.5 * ((wide @ H.astype(np.longdouble)) * wide).sum(1))


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5])
def test_solved_to_the_last_digits_of_float64(condition: float) -> None:
    H, w_bar, z = layer(condition, 1)
    rhs = np.where(z, 0.0, w_bar) @ H
    d, solved = solved_rows(H, rhs, z)
    assert solved.all()
    assert (d[~z] == 0).all()
    expected = precise(H, w_bar, z)
    unit = np.sqrt(H.diagonal())
    for found in (np.where(z, w_bar + d, 0.0), update_rows(H, w_bar, z)):
        error = np.abs((found - expected) * unit).max() / np.abs(w_bar * unit).max()
        assert error <= 100 * EPS * condition


@pytest.mark.parametrize("condition", [1e3, 1e6, 1e9, 1e12])
def test_the_loss_is_never_worse_than_after_float64_factors(condition: float, monkeypatch: pytest.MonkeyPatch) -> None:
    import cbs_opt.kernel.stacks as module

    H, w_bar, z = layer(condition, 2)
    mixed = loss(H, update_rows(H, w_bar, z) - w_bar)
    best = loss(H, precise(H, w_bar, z) - w_bar)
    monkeypatch.setattr(module, "FROM_ORDER", D + 1)
    double = loss(H, update_rows(H, w_bar, z) - w_bar)
    size = 1e-15 * loss(H, w_bar)
    assert (mixed - best <= 2 * np.abs(double - best) + size).all()


def test_what_float32_cannot_factorize_is_left_to_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    import cbs_opt.kernel.stacks as module

    H, w_bar, z = layer(1e12, 3)
    rhs = np.where(z, 0.0, w_bar) @ H
    solved = solved_rows(H, rhs, z)[1]
    assert not solved[-1]
    mixed = update_rows(H, w_bar, z)
    monkeypatch.setattr(module, "FROM_ORDER", D + 1)
    np.testing.assert_allclose(mixed[~solved], update_rows(H, w_bar, z)[~solved], rtol=1e-6)


def test_rows_that_are_zero_have_no_change() -> None:
    H, _, z = layer(1e3, 4)
    d, solved = solved_rows(H, np.zeros((ROWS, D)), z)
    assert solved.all()
    assert not d.any()


def test_a_curvature_that_is_singular_on_the_kept_weights_is_still_refused() -> None:
    H = np.ones((D, D))
    with pytest.raises(NotPositiveDefiniteError, match="not positive definite"):
        update_rows(H, np.ones((2, D)), np.ones((2, D), dtype=bool))
    H = np.eye(D)
    H[3, 3] = -1.0
    with pytest.raises(NotPositiveDefiniteError, match="not positive definite"):
        update_rows(H, np.ones((2, D)), np.ones((2, D), dtype=bool))
