"""relaxation, block-swap and iht: masks in the pattern, never better than the optimum, bounds never above it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import (
    BlockDiagonalCurvature,
    Cardinality,
    DenseCurvature,
    DiagonalCurvature,
    FactorCurvature,
    PruningProblem,
    Quotas,
    methods,
    obs_update,
    solve,
)
from cbs_opt.errors import InputError, NotPositiveDefiniteError, PatternError, UnsupportedError
from cbs_opt.solvers.heuristic import block_swap
from cbs_opt.solvers.heuristic.block_swap_support import Supports
from cbs_opt.solvers.heuristic.block_swap_table import best_exchanges

NAMES = ["relaxation", "block-swap", "iht"]
SEEDS = st.integers(0, 2**32 - 1)


def make_problem(seed: int, n: int, m: int, *, linear: bool = False, scale: float = 1.0) -> PruningProblem:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, n)) * np.exp(rng.normal(size=n)) * scale
    damping = 10.0 ** rng.uniform(-5, 0) * float((A**2).sum(axis=0).mean())
    g = rng.normal(size=n) * damping if linear else None
    return PruningProblem(rng.normal(size=n), FactorCurvature(A, damping), g=g, offset=0.1 * linear)


def any_pattern(problem: PruningProblem, seed: int) -> PruningProblem:
    rng = np.random.default_rng(seed)
    n = problem.n
    k = int(rng.integers(0, n + 1))
    order = rng.permutation(n)
    keep = order[: rng.integers(0, min(2, n - k) + 1)]
    forbid = order[len(keep) : len(keep) + rng.integers(0, min(2, n - len(keep)) + 1)]
    return problem.within(Cardinality(n, k, keep=keep, forbid=forbid))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, linear=st.booleans(), scale=st.sampled_from([1e-5, 1.0, 1e5]))
def test_masks_fill_the_pattern_and_never_beat_the_optimum(seed: int, linear: bool, scale: float) -> None:
    rng = np.random.default_rng(seed)
    problem = make_problem(seed, int(rng.integers(1, 10)), int(rng.integers(1, 7)), linear=linear, scale=scale)
    problem = any_pattern(problem, seed)
    Z = problem.Z
    assert isinstance(Z, Cardinality)
    optimum = solve(problem, "enumeration")
    for name in NAMES:
        found = solve(problem, name)  # raises where a bound lies above the objective
        assert Z.contains(found.mask)
        assert found.mask.sum() == Z.keep.sum() + Z.most_kept_free
        assert found.objective >= optimum.bound - found.round_off
        assert found.bound <= optimum.objective + optimum.round_off
        assert (found.bound > -np.inf) == (name == "relaxation")


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_no_single_exchange_improves_a_block_swapped_mask(seed: int) -> None:
    problem = make_problem(seed, 14, 5, linear=True).pruning(8)
    found = solve(problem, "block-swap")
    for i in np.flatnonzero(found.mask):
        for j in np.flatnonzero(~found.mask):
            mask = found.mask.copy()
            mask[i], mask[j] = False, True
            value = problem.objective(obs_update(problem, mask))
            assert value >= found.objective - 1e-7 * abs(found.objective - problem.offset) - found.round_off


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_the_table_predicts_what_exchanges_gain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(12, 8))
    H, b = X.T @ X + 0.1 * np.eye(8), rng.normal(size=8)
    kept = rng.random(8) < 0.5

    def optimum(mask: np.ndarray) -> float:
        q = np.flatnonzero(mask)
        return -0.5 * float(b[q] @ np.linalg.solve(H[np.ix_(q, q)], b[q])) if q.size else 0.0

    groups = rng.integers(0, 2, 8)
    after, fell, made = best_exchanges(H, b, kept, groups, 1e-12, 100)
    assert optimum(kept) - optimum(after) == pytest.approx(fell, rel=1e-8, abs=1e-12)
    assert (np.bincount(groups[after], minlength=2) == np.bincount(groups[kept], minlength=2)).all()
    assert (made == 0) == bool((after == kept).all())


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, linear=st.booleans())
def test_supports_agree_with_the_update(seed: int, linear: bool) -> None:
    rng = np.random.default_rng(seed)
    problem = make_problem(seed, 12, 5, linear=linear)
    supports = Supports(problem, "cpu")
    first, second = rng.random((2, 12)) < 0.5
    near = supports.at(first)
    for support in (near, supports.at(second), supports.at(second, near)):
        assert support is not None
        expected = problem.objective(obs_update(problem, support.mask)) - problem.offset
        value = supports.data.value_of_problem(support.value, 0.0)
        assert value == pytest.approx(expected, rel=1e-6, abs=1e-9 * problem.curvature.quadratic(problem.w_bar))


@pytest.mark.parametrize("name", NAMES)
def test_units_and_order_do_not_matter(name: str) -> None:
    problem = make_problem(3, 40, 9).pruning(25)
    assert isinstance(problem.curvature, FactorCurvature)
    A, lam, w = problem.curvature.A, problem.curvature.damping, problem.w_bar
    mask = solve(problem, name).mask
    assert (solve(problem, name).mask == mask).all()
    scaled = PruningProblem(w * 2.0**20, FactorCurvature(A * 2.0**-15, lam * 2.0**-30), problem.pattern)
    assert (solve(scaled, name).mask == mask).all()
    order = np.random.default_rng(0).permutation(40)
    shuffled = PruningProblem(w[order], FactorCurvature(A[:, order], lam), problem.pattern)
    assert (solve(shuffled, name).mask == mask[order]).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_mask_improves_on_magnitude(name: str) -> None:
    problem = make_problem(5, 3000, 40).at_sparsity(0.9)
    found, magnitude = solve(problem, name), solve(problem, "magnitude")
    assert found.objective < magnitude.objective
    again = methods()[name].run(problem, start=magnitude.mask) if name != "relaxation" else None
    assert again is None or problem.objective(obs_update(problem, again.mask)) <= magnitude.objective


def test_relaxation_is_nearly_optimal_where_damping_is_large() -> None:
    problem = make_problem(6, 3000, 30)
    assert isinstance(problem.curvature, FactorCurvature)
    A = problem.curvature.A
    damped = replace(problem, curvature=FactorCurvature(A, float((A**2).sum(axis=0).mean()))).at_sparsity(0.8)
    assert solve(damped, "relaxation").gap < 1e-3


@pytest.mark.parametrize("linear", [False, True])
def test_a_single_precision_factor_is_the_problem_itself(linear: bool) -> None:
    """Nothing changes but the storage: same data in float64, same objective and a bound as good."""
    problem = make_problem(7, 500, 20, linear=linear).at_sparsity(0.8)
    assert isinstance(problem.curvature, FactorCurvature)
    A = problem.curvature.A.astype(np.float32)
    half = replace(problem, curvature=FactorCurvature(A, problem.curvature.damping))
    whole = replace(problem, curvature=FactorCurvature(A.astype(np.float64), problem.curvature.damping))
    assert half.curvature.stored.dtype == np.float32  # type: ignore[attr-defined]
    for name in NAMES:
        a, b = solve(half, name), solve(whole, name)
        assert (a.mask == b.mask).all()
        assert a.objective == pytest.approx(b.objective, rel=1e-12)
        assert a.bound == b.bound or a.bound == pytest.approx(b.bound, rel=1e-6)


def test_blocks_of_a_network() -> None:
    rng = np.random.default_rng(2)
    blocks = [
        FactorCurvature(rng.normal(size=(6, 200)), 20.0),
        FactorCurvature(rng.normal(size=(30, 12)), 4.0),
        DiagonalCurvature(rng.uniform(1, 9, 50)),
        DenseCurvature(np.eye(20) + 0.2),
    ]
    problem = PruningProblem(rng.normal(size=282), BlockDiagonalCurvature(blocks)).at_sparsity(0.7)
    found, magnitude = solve(problem, "relaxation"), solve(problem, "magnitude")
    assert found.bound <= found.objective < magnitude.objective
    assert found.gap < 0.2


def test_quotas_are_kept() -> None:
    problem = make_problem(9, 400, 12).within(Quotas.n_of_m(400, 2, 4))
    magnitude = solve(problem, "magnitude")
    for name in NAMES:
        found = solve(problem, name)
        assert problem.Z.contains(found.mask)
        assert found.objective < magnitude.objective


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_taken_is_refused(name: str) -> None:
    problem = make_problem(1, 8, 3).pruning(4)
    dense = replace(problem, curvature=DenseCurvature(problem.curvature.dense()))
    with pytest.raises(UnsupportedError, match="cannot take a dense curvature"):
        solve(dense, name)
    with pytest.raises(InputError, match="give 'cpu', 'cuda'"):
        solve(problem, name, device="tpu")
    lost = replace(problem, curvature=FactorCurvature(np.full((3, 8), 1e10), 1e-12))
    with pytest.raises(NotPositiveDefiniteError, match="use at least"):
        solve(lost, name)
    if name != "relaxation":
        with pytest.raises(PatternError, match="outside the pattern"):
            solve(problem, name, start=np.ones(8, dtype=np.bool_))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "k"), [(1, 0), (1, 1), (6, 0), (6, 6)])
def test_corner_sizes(name: str, n: int, k: int) -> None:
    assert solve(make_problem(1, n, 3).pruning(k), name).pruned == k
    zero = PruningProblem(np.zeros(n), FactorCurvature(np.ones((2, n)), 1.0)).pruning(k)
    assert solve(zero, name).objective == 0.0


def test_a_search_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_swap, "MOST_ROUNDS", 1)
    outcome = methods()["block-swap"].run(make_problem(5, 3000, 40).at_sparsity(0.9))
    assert outcome.notes == ("block-swap stopped after 1 rounds",)


@pytest.mark.parametrize(("kept", "sparsity"), [(40, 0.0), (0, 0.5), (10, 0.5)])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_a_loss_of_nothing_is_no_reason_for_a_note(kept: int, sparsity: float, offset: float) -> None:
    """Nothing to prune, or enough zeros to prune for free: the bound is the optimum, up to round-off."""
    problem = make_problem(0, 40, 20)
    w = np.where(np.arange(40) < kept, problem.w_bar, 0.0)
    found = solve(replace(problem, w_bar=w, offset=offset).at_sparsity(sparsity), "relaxation")
    assert found.objective == found.bound == offset
    assert found.notes == ()
