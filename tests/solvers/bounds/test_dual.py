"""The dual bound (D) of factors and of blocks: any α certifies, the maximizer's nearly meets the optimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from wrapped_pattern import Wrapped

import cbs_opt
from cbs_opt import (
    BlockDiagonalCurvature,
    Cardinality,
    DenseCurvature,
    DiagonalCurvature,
    FactorCurvature,
    Quotas,
)
from cbs_opt.errors import InputError, UnavailableMethodError
from cbs_opt.evaluation import lower_bound as bound_module
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.device import device_named
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.rows import Rows
from cbs_opt.solvers.bounds import dual_tensors
from cbs_opt.solvers.bounds.dual import dual_bound, dual_value, maximize_dual
from cbs_opt.solvers.bounds.dual_blocks import pieces_of, split_dense
from cbs_opt.testing.instances import KINDS, best_by_enumeration, random_curvature

SEEDS = st.integers(0, 2**32 - 1)


def factored(seed: int, n: int, m: int, damping: float, linear: bool = False) -> cbs_opt.PruningProblem:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, n)) * 10.0 ** rng.uniform(-3, 3)
    lam = damping * float((A**2).sum(axis=0).mean())
    g = rng.normal(size=n) * lam if linear else None
    return cbs_opt.PruningProblem(rng.normal(size=n), FactorCurvature(A, lam), g=g, offset=0.25 * linear)


def awkward_factor(rng: np.random.Generator, n: int) -> FactorCurvature:
    """Ties, duplicate columns, columns in different units, float32; at any scale and damping."""
    A = rng.normal(size=(int(rng.integers(1, 8)), n)) * 10.0 ** rng.uniform(-5, 5)
    kind = rng.integers(0, 4)
    if kind == 0:
        A = np.round(2.0 * A / np.abs(A).max())
    elif kind == 1 and n > 1:
        A[:, n // 2 :] = A[:, : n - n // 2]
    elif kind == 2:
        A *= 10.0 ** rng.uniform(-3, 3, n)
    damping = 10.0 ** rng.uniform(-9, 1) * max(float((A**2).sum(axis=0).mean()), 1e-30)
    return FactorCurvature(A.astype(np.float32) if rng.random() < 0.3 else A, damping)


def awkward_problem(seed: int, blocks: bool) -> cbs_opt.PruningProblem | None:
    """A factor, or blocks of every kind; zeros and ties in w̄, first-order terms, forced and forbidden weights."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 10))
    try:
        curvature: Curvature = awkward_factor(rng, n)
        if blocks:
            sizes = np.diff(np.concatenate(([0], np.sort(rng.integers(1, n, 2)) if n > 1 else [], [n]))).astype(int)
            curvature = BlockDiagonalCurvature([_block(rng, int(size)) for size in sizes if size])
    except InputError:
        return None
    w = rng.normal(size=n) * 10.0 ** rng.uniform(-4, 4)
    if rng.random() < 0.3:
        w = np.where(rng.random(n) < 0.5, 0.0, np.sign(w))
    g = 0.3 * curvature.matvec(rng.normal(size=n)) * np.abs(w).mean() if rng.random() < 0.3 else None
    k = int(rng.integers(0, n + 1))
    role = rng.integers(0, 4 if rng.random() < 0.3 else 1, n) if n else np.zeros(0)
    keep, forbid = np.flatnonzero(role == 2)[: n - k], np.flatnonzero(role == 1)
    pattern = Cardinality(n, k, keep=keep, forbid=forbid)
    try:
        pieces_of(curvature)  # a dense block that is singular but for round-off is refused
        return cbs_opt.PruningProblem(w, curvature, pattern, g=g, offset=float(rng.choice([0.0, 1.0])))
    except InputError:
        return None


def _block(rng: np.random.Generator, n: int) -> Curvature:
    kind = rng.integers(0, 3)
    if kind == 0:
        return awkward_factor(rng, n)
    if kind == 1:
        return DiagonalCurvature(10.0 ** rng.uniform(-3, 3, n))
    return DenseCurvature(random_curvature(rng, n, str(rng.choice(KINDS))))


class Opaque(Wrapped):
    """A cardinality that shows nothing but the interface of a pattern."""

    def relief(self, z: Mask) -> Vector:
        raise NotImplementedError

    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        return Opaque(self.inner.fixed(keep, prune))

    def rows(self) -> Rows:
        raise NotImplementedError


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, damping=st.sampled_from([1e-6, 1e-3, 1.0]), linear=st.booleans())
def test_any_point_certifies(seed: int, damping: float, linear: bool) -> None:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 9)), int(rng.integers(1, 6))
    problem = factored(seed, n, m, damping, linear).pruning(int(rng.integers(0, n + 1)))
    optimum, error = best_by_enumeration(problem)
    assert isinstance(problem.curvature, FactorCurvature)
    image = problem.curvature.A @ problem.w_bar
    for alpha in (np.zeros(m), -image, rng.normal(size=m) * np.linalg.norm(image)):
        assert dual_value(problem, alpha)[0] <= optimum + error


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, blocks=st.booleans())
def test_the_maximizer_never_exceeds_the_optimum(seed: int, blocks: bool) -> None:
    problem = awkward_problem(seed, blocks)
    if problem is not None:
        optimum, error = best_by_enumeration(problem)
        assert dual_bound(problem)[0] <= optimum + error


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, blocks=st.booleans())
def test_float32_passes_certify_as_well(seed: int, blocks: bool) -> None:
    problem = awkward_problem(seed, blocks)
    if problem is not None:
        optimum, error = best_by_enumeration(problem)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dual_tensors, "SMALL_ENTRIES", 0)
            assert dual_bound(problem)[0] <= optimum + error


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_patterns_of_quotas_and_unknown_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = factored(seed, 8, 3, 0.1)
    quotas = Quotas([4, 3, 1], [int(rng.integers(0, size + 1)) for size in (4, 3, 1)])
    best = min(
        problem.objective(cbs_opt.obs_update(problem, mask))
        for mask in (np.array([i >> j & 1 for j in range(8)], dtype=np.bool_) for i in range(256))
        if quotas.contains(mask)
    )
    assert dual_bound(problem.within(quotas))[0] <= best * (1 + 1e-12)
    cardinality = problem.pruning(5)
    assert isinstance(cardinality.Z, Cardinality)
    optimum, error = best_by_enumeration(cardinality)
    assert dual_bound(problem.within(Opaque(cardinality.Z)))[0] <= optimum + error


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_supergradient(seed: int) -> None:
    """d(β) ≤ d(α) + gradient(α)ᵀ(β − α) for any two points: concavity and the gradient at once."""
    problem = factored(seed, 40, 6, 0.1, linear=True).pruning(25)
    rng = np.random.default_rng(seed + 1)
    assert isinstance(problem.curvature, FactorCurvature)
    size = np.linalg.norm(problem.curvature.A @ problem.w_bar)
    alpha, beta = rng.normal(size=(2, 6)) * size
    value, gradient = dual_value(problem, alpha)
    other, _ = dual_value(problem, beta)
    assert other <= value + gradient @ (beta - alpha) + 1e-9 * (abs(value) + abs(other))


def lbfgs(problem: cbs_opt.PruningProblem) -> float:
    """What a general method finds on d itself, given time."""
    assert isinstance(problem.curvature, FactorCurvature)
    start = problem.curvature.image(cbs_opt.obs_update(problem, problem.Z.argmax(problem.w_bar**2)) - problem.w_bar)
    unit = float(np.linalg.norm(start))
    best = -np.inf

    def negative(scaled: Vector) -> tuple[float, Vector]:
        nonlocal best
        value, gradient = dual_value(problem, scaled * unit)
        best = max(best, value)
        return -value / unit**2, -gradient / unit

    minimize(negative, start / unit, jac=True, method="L-BFGS-B", options={"maxfun": 2000, "maxiter": 2000, "ftol": 0})
    return best


@pytest.mark.parametrize("damping", [1.0, 1e-2, 1e-3])
@pytest.mark.parametrize("linear", [False, True])
def test_finds_more_than_a_general_method(damping: float, linear: bool) -> None:
    problem = factored(7, 3000, 30, damping, linear).at_sparsity(0.9)
    found = maximize_dual(problem)
    assert found.notes == ()
    assert found.value - problem.offset >= lbfgs(problem) - problem.offset - 2e-5 * abs(found.value - problem.offset)


def test_quotas_are_maximized_as_well_as_a_cardinality() -> None:
    """One segment or its two halves with the quotas of its own mask: the second bound is no smaller."""
    problem = factored(8, 2000, 20, 0.1)
    single = maximize_dual(problem.at_sparsity(0.8))
    again = maximize_dual(problem.within(Quotas([2000], 1600)))
    opaque = dual_bound(problem.within(Opaque(Cardinality(2000, 1600))))[0]
    assert again.value == pytest.approx(single.value, rel=1e-4)
    assert opaque == pytest.approx(single.value, rel=2e-2)
    assert single.z.sum() == pytest.approx(400)
    assert ((single.z >= 0) & (single.z <= 1)).all()
    segments = maximize_dual(problem.within(Quotas.n_of_m(2000, 1, 4)))
    rounded = problem.within(Quotas.n_of_m(2000, 1, 4)).Z.argmax(segments.scores)
    assert 0.9 * problem.objective(cbs_opt.obs_update(problem, rounded)) <= segments.value


def test_blocks_are_maximized_together() -> None:
    """Two factors, one pattern over both, well damped: rounding the relaxation comes close to the bound."""
    rng = np.random.default_rng(4)
    A, B = rng.normal(size=(10, 900)), 3.0 * rng.normal(size=(12, 700))
    w = rng.normal(size=1600)
    curvature = BlockDiagonalCurvature([FactorCurvature(A, 50.0), FactorCurvature(B, 400.0)])
    problem = cbs_opt.PruningProblem(w, curvature).at_sparsity(0.7)
    found = maximize_dual(problem)
    mask = problem.Z.argmax(found.scores)
    value = problem.objective(cbs_opt.obs_update(problem, mask))
    assert 0.98 * value <= found.value <= value
    assert cbs_opt.lower_bound(problem).method == "dual"


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, kind=st.sampled_from(["gram", "duplicates", "identity", "integer"]))
def test_the_split_of_a_dense_block_lies_below_it(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    H = random_curvature(rng, int(rng.integers(1, 12)), kind) * 10.0 ** rng.uniform(-10, 10)
    try:
        factor, damping = split_dense(H)
    except InputError:
        return
    rest = H - factor.A.T @ factor.A - np.diag(damping)
    assert np.linalg.eigvalsh(rest)[0] >= -1e-14 * len(H) * np.abs(H).max()


def test_lower_bound_takes_the_factor_where_the_dense_matrix_is_too_large() -> None:
    problem = factored(5, 30, 4, 0.5).pruning(20)
    dense, factor = cbs_opt.lower_bound(problem), dual_bound(problem)[0]
    # The tree may choose its splitting, the dual bound has D = λI.
    assert 0 < factor <= dense.value * (1 + 1e-3)
    large = cbs_opt.lower_bound(factored(5, bound_module.PERSPECTIVE_LIMIT + 1, 4, 0.5).pruning(800))
    assert (dense.method, large.method) == ("tree", "dual")


def test_devices_are_named_or_refused() -> None:
    import torch

    assert device_named("cpu").type == "cpu"
    with pytest.raises(InputError, match="give 'cpu', 'cuda' or 'cuda:0'"):
        device_named("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UnavailableMethodError, match="finds no CUDA device here"):
            cbs_opt.lower_bound(factored(5, 2000, 4, 0.5).pruning(20), device="cuda")


@pytest.mark.gpu
def test_both_devices_find_the_same_bound() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    problem = factored(9, 4000, 40, 1e-2).at_sparsity(0.9)
    assert dual_bound(problem, "cuda")[0] == pytest.approx(dual_bound(problem)[0], rel=1e-4)
