"""The perspective bound: valid on everything, tight where it has to be."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbs_opt
from cbs_opt.solvers.bounds.perspective import perspective_bound
from cbs_opt.solvers.compiled import dense as dense
from cbs_opt.solvers.compiled import relaxation as relaxation
from cbs_opt.solvers.compiled import splitting as splitting
from cbs_opt.solvers.forms.node_state import Room
from cbs_opt.testing.instances import best_by_enumeration, random_curvature, random_problem

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_never_above_the_optimum(seed: int) -> None:
    problem = random_problem(seed)
    if problem is None:
        return
    optimum, error = best_by_enumeration(problem)
    assert cbs_opt.lower_bound(problem).value <= optimum + error + 1e-12 * abs(optimum)
    assert perspective_bound(problem)[0] <= optimum + error + 1e-12 * abs(optimum)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([2, 3, 4]))
def test_never_above_the_optimum_of_segments(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    segments = int(rng.integers(1, 5))
    problem = cbs_opt.PruningProblem(
        rng.normal(size=size * segments), random_curvature(rng, size * segments, "gram") * 10.0 ** rng.uniform(-30, 30)
    ).within(cbs_opt.Quotas(np.full(segments, size), rng.integers(0, size + 1, size=segments)))
    optimum, error = best_by_enumeration(problem)
    root, searched = perspective_bound(problem)[0], cbs_opt.lower_bound(problem).value
    assert root <= searched <= optimum + error + 1e-12 * abs(optimum)


def test_more_than_the_root_where_the_block_is_small() -> None:
    problem = random_layer(48).within(cbs_opt.Quotas.n_of_m(48, 2, 4))
    optimum = cbs_opt.solve(problem, "bnb").objective
    assert perspective_bound(problem)[0] < 0.95 * optimum
    assert 0.999 * optimum < cbs_opt.lower_bound(problem).value <= optimum
    assert perspective_bound(problem)[0] <= cbs_opt.lower_bound(problem, time_limit=0).value <= optimum


def random_layer(n: int) -> cbs_opt.PruningProblem:
    rng = np.random.default_rng(n)
    X = rng.normal(size=(4 * n, n)) @ rng.normal(size=(n, n))
    return cbs_opt.PruningProblem.from_activations(rng.normal(size=n), X, dampening_frac=0.01)


def test_an_offset_is_not_rounded_upwards() -> None:
    """f(0) = 1 + ½w̄²: half of these sums are rounded up, and a bound must not be."""
    for w in np.linspace(1e-9, 1e-3, 40):
        problem = cbs_opt.PruningProblem([w], np.ones((1, 1)), offset=1.0).pruning(1)
        bound = cbs_opt.lower_bound(problem).value
        assert Fraction(bound) <= 1 + Fraction(float(w)) ** 2 / 2
        assert bound == pytest.approx(1 + w * w / 2, abs=1e-15)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, damping=st.sampled_from([1e-4, 1e-8, 1e-11]))
def test_never_above_the_optimum_of_a_weakly_damped_factor_with_a_first_order_term(seed: int, damping: float) -> None:
    """H⁻¹g is then far from w̄, and as wrong as λ is small unless it is refined."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    A, g = rng.normal(size=(int(rng.integers(1, 12)), n)), rng.normal(size=n)
    curvature = cbs_opt.FactorCurvature(A, damping * float((A**2).sum(axis=0).mean()))
    problem = cbs_opt.PruningProblem(rng.normal(size=n), curvature, g=g).pruning(int(rng.integers(1, n + 1)))
    optimum, error = best_by_enumeration(problem)
    assert cbs_opt.lower_bound(problem).value <= optimum + error


def test_exact_where_weights_do_not_interact() -> None:
    rng = np.random.default_rng(1)
    w, d = rng.normal(size=30), rng.uniform(0.5, 2.0, size=30)
    problem = cbs_opt.PruningProblem(w, cbs_opt.DiagonalCurvature(d)).pruning(20)
    optimum = np.sort(0.5 * d * w * w)[:20].sum()
    assert cbs_opt.lower_bound(problem).value == pytest.approx(optimum, rel=1e-2)
    assert cbs_opt.lower_bound(problem).value <= optimum


def relaxed(seed: int, n: int, damping: float | None) -> tuple[float, float]:
    """Bound (B) and the relaxation's own value where ``relax`` stops, D = 0.9·λmin(H)."""
    rng = np.random.default_rng(seed)
    H = random_curvature(rng, n, "gram") if damping is None else random_curvature(rng, n, "gram") + damping * np.eye(n)
    H /= np.sqrt(np.outer(H.diagonal(), H.diagonal()))
    c = rng.normal(size=n)
    D = np.full(n, 0.9 * np.linalg.eigvalsh(H)[0])
    K = int(rng.integers(1, n))
    w, scores, work, L = c.copy(), np.empty(n), np.empty((n, n)), np.empty((n, n))
    R = H - np.diag(D)
    room, tau = Room.one(n, K), np.full(1, -1.0)
    bound, primal = relaxation.relax(R, D, H @ c, c, room, w, tau, np.inf, 1e-6, 40, scores, work, L)
    return bound, primal


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, n=st.integers(2, 20))
def test_relaxation_meets_its_own_bound(seed: int, n: int) -> None:
    """Primal value and bound (B) coincide at the optimum of the relaxation: neither can be improved."""
    bound, primal = relaxed(seed, n, damping=0.1)
    assert primal * (1 - 1e-3) - 1e-11 <= bound <= primal * (1 + 1e-9) + 1e-12


def test_relaxation_converges_at_every_ill_conditioned_root() -> None:
    """Condition up to 1e9, D as small as 1e-9: the gap between the two is closed to 0.1 %."""
    pairs = [relaxed(seed, 2 + seed % 19, damping=None) for seed in range(400)]
    assert all(bound <= primal * (1 + 1e-9) + 1e-12 for bound, primal in pairs)
    assert all(bound >= primal * (1 - 1e-3) - 1e-11 for bound, primal in pairs)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, n=st.integers(2, 8))
def test_any_point_certifies(seed: int, n: int) -> None:
    """Bound (B) at a random point, against the formula of the definition and against every support."""
    rng = np.random.default_rng(seed)
    H = random_curvature(rng, n, "gram")
    c, w = rng.normal(size=n), rng.normal(size=n) * 10.0 ** rng.uniform(-2, 2)
    D = np.full(n, 0.9 * np.linalg.eigvalsh(H)[0])
    R = H - np.diag(D)
    K = int(rng.integers(1, n))
    scores = np.empty(n)
    bound, _ = relaxation.evaluate(R, D, c, w, Room.one(n, K), scores)
    b, v = H @ c, R @ w
    s = (b - v) ** 2 / (2 * D)
    top = np.sort(s)[::-1]
    size = 0.5 * c @ b + abs(w @ v) + top[:K].sum()
    assert bound == pytest.approx(0.5 * c @ b - 0.5 * w @ v - top[:K].sum(), abs=1e-9 * size)
    assert scores == pytest.approx(s, rel=1e-6, abs=1e-12 * top[0])
    optimum, _ = best_by_enumeration(cbs_opt.PruningProblem(c, H).pruning(n - K))
    assert bound <= optimum * (1 + 1e-12)


def test_round_off_does_not_decide_between_masks_whose_scores_are_nearly_alike() -> None:
    """The bound is below (B) in rational arithmetic, also where the mask that (B) is worst for is not the one it names.

    A score s_i is wrong by what q_i is, times √(2s_i/D_i): of two that tie, the one with the small D may be the larger.
    """
    for seed in range(200):
        rng = np.random.default_rng(seed)
        D, a, c = np.array([1.0, 1e-11]), rng.uniform(0.5, 2.0, 2), rng.normal(size=2)
        R = np.outer(a, a) + np.diag([0.1, 0.3])
        w = c + np.linalg.solve(R, D * c + rng.choice([-1, 1], 2) * np.sqrt(2.0 * D * rng.uniform(1.0, 2.0)))
        bound, _ = relaxation.evaluate(R, D, c, w, Room.one(2, 1), np.empty(2))
        rows, D_, c_, w_ = ([Fraction(x) for x in values.ravel().tolist()] for values in (R, D, c, w))
        d = [w_[0] - c_[0], w_[1] - c_[1]]
        q = [rows[0] * d[0] + rows[1] * d[1], rows[2] * d[0] + rows[3] * d[1]]
        pruned = [D_[i] * c_[i] ** 2 / 2 - q[i] * c_[i] for i in range(2)]
        kept = [-(q[i] ** 2) / (2 * D_[i]) for i in range(2)]
        exact = -(d[0] * q[0] + d[1] * q[1]) / 2 + min(kept[0] + pruned[1], pruned[0] + kept[1])
        assert Fraction(bound) <= exact


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, n=st.integers(1, 25))
def test_cholesky_kernels_against_lapack(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, 2 * n + 1))
    A = A @ A.T
    L, inverse = np.zeros((n, n)), np.empty((n, n))
    assert dense.cholesky(A, L)
    assert np.tril(L) == pytest.approx(np.linalg.cholesky(A), rel=1e-9, abs=1e-9)
    x = rng.normal(size=n)
    solved = x.copy()
    dense.cholesky_solve(L, solved)
    assert A @ solved == pytest.approx(x, rel=1e-7, abs=1e-7)
    dense.cholesky_inverse(L, inverse)
    assert np.tril(inverse) == pytest.approx(np.tril(np.linalg.inv(A)), rel=1e-6, abs=1e-9)
    A[n - 1, n - 1] = -1.0
    assert not dense.cholesky(A, L)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, n=st.integers(2, 25))
def test_splitting_stays_positive_semidefinite(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    H = random_curvature(rng, n, "gram")
    D = np.full(n, 0.5 * np.linalg.eigvalsh(H)[0])
    start = D.copy()
    gain = rng.uniform(0.01, 1.0, n)
    barrier = float(gain @ D) / n
    work, L, inverse = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))

    def value(D: np.ndarray) -> float:
        return float(gain @ D + barrier * np.linalg.slogdet(H - np.diag(D))[1])

    assert splitting.ascend_splitting(H, D, gain, barrier, 0.05 * start, work, L, inverse)
    assert value(D) >= value(start) - 1e-9 * abs(value(start))
    R = np.empty((n, n))
    splitting.certify_splitting(H, D, 1e-14, R, work, L)
    assert (D > 0).all()
    assert np.linalg.eigvalsh(R)[0] >= -1e-13 * np.trace(H)
    assert pytest.approx(H) == R + np.diag(D)
