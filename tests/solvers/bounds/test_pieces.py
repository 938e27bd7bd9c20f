"""The choice of a splitting with rank-one pieces: valid, positive definite, and worth more than the best diagonal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbs_opt
from cbs_opt import Labels
from cbs_opt.solvers.bounds import pieces
from cbs_opt.solvers.bounds.interior import inverse_of
from cbs_opt.solvers.bounds.perspective import perspective_bound
from cbs_opt.solvers.bounds.pieces_pricing import VIOLATION, priced
from cbs_opt.solvers.forms.node_state import Room
from cbs_opt.testing.instances import KINDS, best_by_enumeration, random_curvature

SEEDS = st.integers(0, 2**32 - 1)
ACCURACY = 2e-3


def rest(H: np.ndarray, splitting: pieces.Splitting) -> np.ndarray:
    """R = H − diag(D) − Σ q u uᵀ, from the members."""
    R = H - np.diag(splitting.D)
    for members, u, q in zip(splitting.pieces.members, splitting.pieces.u, splitting.q, strict=True):
        S = members[members >= 0]
        R[np.ix_(S, S)] -= q * np.outer(u[: len(S)], u[: len(S)])
    return R


def nearly_duplicated(m: int, damping: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Columns in nearly equal pairs, with minimizers of the same size: the diagonal of a splitting is small there."""
    rng = np.random.default_rng(m)
    A = rng.normal(size=(2 * m, m))
    A[:, m // 2 :] = A[:, : m // 2] + 0.1 * rng.normal(size=(2 * m, m // 2))
    return A.T @ A / (2 * m) + damping * np.eye(m), rng.normal(size=m)


@settings(max_examples=120, deadline=None)
@given(seed=SEEDS, m=st.integers(2, 10), kind=st.sampled_from(KINDS), zeros=st.booleans(), slack=st.floats(1.0, 3.0))
def test_never_above_the_optimum(seed: int, m: int, kind: str, zeros: bool, slack: float) -> None:
    """Condition up to 1e8 after scaling, equal columns and zeros among the minimizers included."""
    rng = np.random.default_rng(seed)
    H = random_curvature(rng, m, kind)
    s = np.sqrt(H.diagonal())
    if not np.linalg.cond(H / s / s[:, None]) <= 1e8:
        return
    c = rng.normal(size=m) / s
    if zeros:
        c[rng.random(m) < 0.4] = 0.0
    labels = np.sort(rng.integers(0, 2, m))
    count = np.bincount(labels)
    if count.min() < 2:  # each label has to leave a choice
        labels, count = np.zeros(m, dtype=np.int64), np.array([m])
    most = np.array([int(rng.integers(1, size)) for size in count])
    optimum, error = best_by_enumeration(cbs_opt.PruningProblem(c, H).within(Labels(labels, count - most)))
    splitting = pieces.choose(H, H @ c, Room(labels, most), slack * optimum, ACCURACY)
    if splitting is None:
        assert optimum == 0.0
        return
    round_off = 1e-13 * float(np.abs(c) @ np.abs(H) @ np.abs(c))
    assert splitting.bound <= optimum * (1 + 1e-9) + error + round_off
    assert splitting.bound >= -0.01 * slack * optimum - round_off


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, m=st.integers(2, 30), kind=st.sampled_from(["gram", "duplicates", "integer", "units"]))
def test_what_is_left_is_positive_definite_and_pieces_are_laid_out_as_said(seed: int, m: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    H = random_curvature(rng, m, kind)
    s = np.sqrt(H.diagonal())
    if not np.linalg.cond(H / s / s[:, None]) <= 1e8:
        return
    K = int(rng.integers(1, m))
    c = rng.normal(size=m) / s
    splitting = pieces.choose(H, H @ c, Room.one(len(H), K), float(c @ H @ c) / 4, ACCURACY)
    assert splitting is not None
    (members, u), D, q, z, _ = splitting
    E = len(q)
    assert members.shape == u.shape == (E, pieces.WIDTH)
    assert members.dtype == np.int64
    assert E <= pieces.MOST_PIECES
    inside = members >= 0
    assert (inside[:, 1:] <= inside[:, :-1]).all(), "members come first"
    assert (inside.sum(1) >= 2).all()
    assert (members[~inside] == -1).all()
    assert (u[~inside] == 0.0).all()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in members)
    assert members.max(initial=0) < m
    assert (D > 0).all()
    assert (q >= 0).all()
    assert z.min() > 0
    assert z.max() < 1
    assert z.sum() == pytest.approx(K)
    np.linalg.cholesky(rest(H, splitting))
    assert (
        np.linalg.eigvalsh(
            rest(
                H / s / s[:, None],
                splitting._replace(D=D / s**2, pieces=pieces.Pieces(members, np.where(inside, u / s[members], 0.0))),
            )
        )[0]
        > -1e-14 * m
    )


@pytest.mark.parametrize("m", [12, 24, 40])
def test_better_than_the_best_diagonal_where_columns_are_nearly_equal(m: int) -> None:
    H, c = nearly_duplicated(m)
    problem = cbs_opt.PruningProblem(c, H).pruning(3 * m // 4)
    diagonal, _ = perspective_bound(problem)
    value = cbs_opt.solve(problem, method="greedy-obs").objective
    splitting = pieces.choose(H, H @ c, Room.one(m, m - 3 * m // 4), value, ACCURACY)
    assert splitting is not None
    assert diagonal < value
    assert splitting.bound > diagonal + 0.1 * (value - diagonal)
    assert splitting.bound <= value


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_units_do_not_matter(scale: float) -> None:
    """f in other units, all weights in other units, and every weight in its own."""
    H, c = nearly_duplicated(16)
    K, value = 4, 0.3 * float(c @ H @ c)
    plain = pieces.choose(H, H @ c, Room.one(len(H), K), value, ACCURACY)
    assert plain is not None
    unit = scale ** np.random.default_rng(1).uniform(0, 1, 16)
    for H2, c2, value2 in (
        (H * scale, c, value * scale),
        (H, c * scale, value * scale**2),
        (H * np.outer(unit, unit), c / unit, value),
    ):
        other = pieces.choose(H2, H2 @ c2, Room.one(len(H2), K), value2, ACCURACY)
        assert other is not None
        assert other.bound / value2 == pytest.approx(plain.bound / value, rel=1e-4)
        assert len(other.q) > 0
        np.linalg.cholesky(rest(H2, other))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, m=st.integers(4, 20))
def test_pieces_asked_for_are_violated_as_the_definition_says(seed: int, m: int) -> None:
    """½w_Sᵀ(G_SS)⁻¹w_S(1/z(S) − 1)/μ from the sets alone, and the direction (G_SS)⁻¹w_S."""
    rng = np.random.default_rng(seed)
    G = inverse_of(random_curvature(rng, m, "gram") + 0.01 * np.eye(m))
    assert G is not None
    w, z = rng.normal(size=m), rng.uniform(0.01, 0.5, size=m)
    mu = 0.02 * float(w @ np.linalg.solve(G, w)) / m
    index, inside, u = priced(G, w, z, mu, 10)
    assert len(u) <= 10
    for row, there, direction in zip(index, inside > 0, u, strict=True):
        S = row[there]
        best = np.linalg.solve(G[np.ix_(S, S)], w[S])
        assert 0.5 * w[S] @ best * (1 / z[S].sum() - 1) / mu > VIOLATION * (1 - 1e-6)
        assert direction[there] == pytest.approx(best / np.linalg.norm(best), rel=1e-5, abs=1e-7)


def test_none_where_there_is_nothing_to_split() -> None:
    ones = np.ones((3, 3))
    assert pieces.choose(ones, ones @ np.ones(3), Room.one(3, 1), 1.0, ACCURACY) is None
    assert pieces.choose(np.diag([1.0, -1.0]), np.ones(2), Room.one(2, 1), 1.0, ACCURACY) is None
    assert pieces.choose(np.diag([1.0, 0.0]), np.ones(2), Room.one(2, 1), 1.0, ACCURACY) is None
    for value in (0.0, -1.0, np.inf, np.nan):
        assert pieces.choose(np.eye(3), np.ones(3), Room.one(3, 1), value, ACCURACY) is None
    assert pieces.choose(np.eye(3), np.array([1.0, np.nan, 1.0]), Room.one(3, 1), 1.0, ACCURACY) is None
