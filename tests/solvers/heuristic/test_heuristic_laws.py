"""Laws that every heuristic obeys, on small problems of every kind, against enumeration."""

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
    PruningProblem,
    methods,
    solve,
)
from cbs_opt.errors import NotPositiveDefiniteError
from cbs_opt.testing.method_laws import (
    bound_optimum_objective,
    order_does_not_matter,
    same_seed_same_mask,
    units_do_not_matter,
)

HEURISTICS = ["magnitude", "obd", "woodfisher", "greedy-obs", "cbs", "swap"]
KINDS = ["plain", "ill-conditioned", "tied", "duplicates", "zeros", "first-order", "factor"]


def make_problem(n: int, kind: str, seed: int) -> PruningProblem:
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(n)
    X = rng.standard_normal((2 * n + 3, n)) * np.exp(rng.standard_normal(n))
    if kind == "ill-conditioned":
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        H = (Q * np.logspace(0, -12, n)) @ Q.T
        return PruningProblem(w, DenseCurvature((H + H.T) / 2, damping=1e-12))
    if kind == "tied":
        return PruningProblem(np.ones(n), np.eye(n) + 0.5)
    if kind == "duplicates":
        twice = np.repeat(X[:, : (n + 1) // 2], 2, axis=1)[:, :n]
        return PruningProblem.from_activations(w, twice, dampening_frac=1e-6)
    if kind == "zeros":
        return PruningProblem.from_activations(np.where(rng.random(n) < 0.5, 0.0, w), X, dampening_frac=1e-3)
    if kind == "first-order":
        return replace(PruningProblem.from_activations(w, X, dampening_frac=1e-3), g=rng.standard_normal(n), offset=0.3)
    if kind == "factor":
        return PruningProblem.from_gradients(w, X[: max(1, n - 1)], dampening_frac=1e-3)
    return PruningProblem.from_activations(w, X, dampening_frac=1e-3)


@st.composite
def problems(draw: st.DrawFn, kinds: list[str] = KINDS, least: int = 1) -> PruningProblem:
    n = draw(st.integers(least, 9))
    problem = make_problem(n, draw(st.sampled_from(kinds)), draw(st.integers(0, 2**32 - 1)))
    k = draw(st.integers(0, n))
    order = draw(st.permutations(range(n)))
    keep = order[: draw(st.integers(0, min(2, n - k)))]
    forbid = order[len(keep) : len(keep) + draw(st.integers(0, min(2, n - len(keep))))]
    return problem.within(Cardinality(n, k, keep=keep, forbid=forbid))


@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_masks_fill_the_pattern_and_never_beat_the_optimum(problem: PruningProblem) -> None:
    Z = problem.Z
    assert isinstance(Z, Cardinality)
    for name in HEURISTICS:
        found = bound_optimum_objective(problem, name)
        assert found.mask.sum() == Z.keep.sum() + Z.most_kept_free, name
        assert found.bound == -np.inf


@settings(max_examples=25, deadline=None)
@given(problem=problems())
def test_same_seed_same_mask(problem: PruningProblem) -> None:
    for name in HEURISTICS:
        same_seed_same_mask(problem, name)


@settings(max_examples=25, deadline=None)
@given(
    problem=problems(["plain", "first-order"]),
    curvature_unit=st.sampled_from([1e-10, 1e10]),
    weight_unit=st.sampled_from([1e-6, 1e6]),
)
def test_units_do_not_matter(problem: PruningProblem, curvature_unit: float, weight_unit: float) -> None:
    for name in HEURISTICS:
        units_do_not_matter(problem, name, curvature_unit, weight_unit)


@settings(max_examples=25, deadline=None)
@given(problem=problems(["plain", "first-order"]), seed=st.integers(0, 2**32 - 1))
def test_order_of_the_weights_does_not_matter(problem: PruningProblem, seed: int) -> None:
    for name in HEURISTICS:
        order_does_not_matter(problem, name, seed)


@pytest.mark.parametrize("name", HEURISTICS)
@pytest.mark.parametrize(("n", "k"), [(1, 0), (1, 1), (2, 1), (7, 0), (7, 7)])
def test_corner_sizes(name: str, n: int, k: int) -> None:
    assert solve(make_problem(n, "plain", 1).pruning(k), name).pruned == k


@pytest.mark.parametrize("name", HEURISTICS)
@pytest.mark.parametrize("curvature", [DiagonalCurvature([1, 2, 3, 4, 5, 6.0]), DenseCurvature(np.eye(6) + 1.0)])
def test_all_weights_zero(name: str, curvature: DenseCurvature | DiagonalCurvature) -> None:
    found = solve(PruningProblem(np.zeros(6), curvature).pruning(4), name)
    assert found.pruned == 4
    assert found.objective == 0.0


@pytest.mark.parametrize("name", HEURISTICS)
def test_storage_of_the_curvature_does_not_matter(name: str) -> None:
    problem = make_problem(8, "factor", 5).pruning(4)
    dense = replace(problem, curvature=DenseCurvature(problem.curvature.dense()))
    parts = replace(problem, curvature=BlockDiagonalCurvature([problem.curvature]))
    expected = solve(dense, name).mask
    assert (solve(problem, name).mask == expected).all()
    assert (solve(parts, name).mask == expected).all()


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_damping_near_round_off_is_survived_or_named(name: str) -> None:
    """Methods that form H refuse: in float64 the formed matrix has lost its damping."""
    rng = np.random.default_rng(3)
    w, G = rng.standard_normal(60), rng.standard_normal((20, 60))
    problem = PruningProblem.from_gradients(w, G, dampening_frac=1e-15).pruning(50)
    if name in ("greedy-obs", "swap"):
        with pytest.raises(NotPositiveDefiniteError, match="give H \\+ λI with a damping"):
            methods()[name].run(problem)
    else:
        assert methods()[name].run(problem).mask.sum() == 10
