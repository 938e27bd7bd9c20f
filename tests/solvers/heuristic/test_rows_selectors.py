"""The selectors of layers: rows together as one by one, in every pattern, never below the optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, Pattern, PruningProblem, Quotas, RowsCurvature, obs_update, solve
from cbs_opt.errors import InputError
from cbs_opt.solvers.forms.layer_tensors import Layer
from cbs_opt.solvers.heuristic import greedy_obs
from cbs_opt.solvers.heuristic.row_swap import _chunks, improve_rows

SELECTORS = ["magnitude", "obd", "woodfisher", "greedy-obs", "swap", "sparsegpt", "admm"]
KINDS = ["layer", "rows", "uneven", "n:m", "forced"]


def make_layer(rows: int, d: int, seed: int, first_order: bool = False) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2 * d + 1, d)) * np.exp(rng.standard_normal(d)) + rng.standard_normal((2 * d + 1, 1))
    g = 0.1 * rng.standard_normal(rows * d) if first_order else None
    return PruningProblem(rng.standard_normal(rows * d), RowsCurvature(X.T @ X / len(X), rows, 1e-3), g=g)


def make_pattern(kind: str, rows: int, d: int, rng: np.random.Generator) -> Pattern:
    n = rows * d
    if kind == "layer":
        return Cardinality(n, int(rng.integers(0, n + 1)))
    if kind == "rows":
        return Quotas(np.full(rows, d), rng.integers(0, d + 1, rows))
    if kind == "n:m":
        return Quotas.n_of_m(n, 1, 2, row=d) if d % 2 == 0 else Quotas.n_of_m(n, 1, d, row=d)
    if kind == "forced":
        order = rng.permutation(n)
        return Cardinality(n, n // 2, keep=order[: n // 4], forbid=order[n - n // 4 :])
    cut = int(rng.integers(1, n)) if n > 1 else 1
    sizes = np.array([cut, n - cut]) if n > 1 else np.array([1])
    return Quotas(sizes, rng.integers(0, sizes + 1))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from(KINDS), st.booleans(), st.integers(0, 2**32 - 1))
def test_masks_fill_the_pattern_and_never_beat_the_optimum(
    rows: int, d: int, kind: str, first_order: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    problem = make_layer(rows, d, seed, first_order).within(make_pattern(kind, rows, d, rng))
    optimum = solve(problem, "enumeration")
    full = problem.Z.argmax(np.ones(problem.n)).sum()
    found = {name: solve(problem, name) for name in SELECTORS}
    for name, solution in found.items():
        assert problem.Z.contains(solution.mask), name
        assert solution.mask.sum() == full, name
        assert solution.objective >= optimum.bound - solution.round_off, name
        assert (solve(problem, name).mask == solution.mask).all(), name
    assert found["swap"].objective <= found["greedy-obs"].objective + 1e-9 * abs(found["greedy-obs"].objective)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 14), st.booleans(), st.integers(0, 2**32 - 1))
def test_greedy_rows_are_the_greedy_of_each_row(rows: int, d: int, first_order: bool, seed: int) -> None:
    problem = make_layer(rows, d, seed, first_order)
    quotas = np.random.default_rng(seed).integers(0, d + 1, rows)
    together = greedy_obs.run(problem.within(Quotas(np.full(rows, d), quotas))).mask.reshape(rows, d)
    assert isinstance(problem.curvature, RowsCurvature)
    g = problem.linear_term().reshape(rows, d)
    for r, w in enumerate(problem.w_bar.reshape(rows, d)):
        alone = PruningProblem(w, problem.curvature.row, g=g[r] if first_order else None)
        assert (greedy_obs.run(alone.pruning(int(quotas[r]))).mask == together[r]).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(2, 9), st.sampled_from(KINDS), st.booleans(), st.integers(0, 2**32 - 1))
def test_no_exchange_of_two_weights_improves_what_the_search_ends_with(
    rows: int, d: int, kind: str, first_order: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    problem = make_layer(rows, d, seed, first_order).within(make_pattern(kind, rows, d, rng))

    def value(z: np.ndarray) -> float:
        return problem.objective(obs_update(problem, z))

    start = problem.Z.argmax(rng.random(problem.n))
    z = improve_rows(problem, start)
    tolerance = 1e-7 * (abs(value(z)) + problem.objective(np.zeros(problem.n)) * 1e-3)
    assert value(z) <= value(start) + tolerance
    quotas = problem.Z.labelled
    assert quotas is not None
    for i in np.flatnonzero(z & quotas.free):
        for j in np.flatnonzero(~z & quotas.free & (quotas.labels == quotas.labels[i])):
            exchanged = z.copy()
            exchanged[i], exchanged[j] = False, True
            assert value(exchanged) >= value(z) - tolerance


def test_lost_digits_are_computed_afresh() -> None:
    """Near-duplicate inputs: the inverse loses eight digits when one of a pair is pruned."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 10))
    twice = np.concatenate([X, X + 1e-5 * rng.standard_normal(X.shape)], axis=1)
    problem = PruningProblem(rng.standard_normal(60), RowsCurvature(twice.T @ twice / 60, 3, 1e-10))
    together = greedy_obs.run(problem.within(Quotas(np.full(3, 20), 10))).mask.reshape(3, 20)
    assert isinstance(problem.curvature, RowsCurvature)
    for mask, w in zip(together, problem.w_bar.reshape(3, 20), strict=True):
        alone = PruningProblem(w, problem.curvature.row).pruning(10)
        expected = alone.objective(obs_update(alone, greedy_obs.run(alone).mask))
        assert alone.objective(obs_update(alone, mask)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["greedy-obs", "swap", "admm"])
def test_order_of_rows_and_units_do_not_matter(name: str) -> None:
    problem = make_layer(5, 12, 4).pruning(40)
    assert isinstance(problem.curvature, RowsCurvature)
    mask = solve(problem, name).mask.reshape(5, 12)
    w, order = problem.w_bar.reshape(5, 12), np.array([3, 0, 4, 2, 1])
    shuffled = PruningProblem(w[order].ravel(), problem.curvature, problem.pattern)
    assert (solve(shuffled, name).mask.reshape(5, 12) == mask[order]).all()
    scaled = PruningProblem(problem.w_bar * 1e-6, RowsCurvature(problem.curvature.H * 1e10, 5), problem.pattern)
    assert (solve(scaled, name).mask.reshape(5, 12) == mask).all()


def test_rows_that_keep_few_and_many_weights_are_searched_as_each_alone() -> None:
    """All pruned and none pruned beside each other, as quotas of a dead layer have it: they are not padded alike."""
    rows, d, kept = 5, 100, np.array([0, 100, 4, 60, 90])
    problem = make_layer(rows, d, 3).within(Quotas(np.full(rows, d), d - kept))
    z = problem.Z.argmax(problem.w_bar**2)
    layer = Layer.of(problem)
    parts = [part.tolist() for part in _chunks(layer, torch.from_numpy(z.reshape(rows, d)), torch.arange(rows))]
    assert parts == [[0, 2], [3, 4, 1]]
    together = improve_rows(problem, z).reshape(rows, d)
    assert isinstance(problem.curvature, RowsCurvature)
    for row, w in enumerate(problem.w_bar.reshape(rows, d)):
        alone = PruningProblem(w, RowsCurvature(problem.curvature.H, 1)).pruning(int(d - kept[row]))
        assert (improve_rows(alone, z.reshape(rows, d)[row]) == together[row]).all()


def test_rows_relaxation_proves_a_bound_and_its_mask_is_good() -> None:
    problem = make_layer(4, 16, 1).at_sparsity(0.75)
    found = solve(problem, "rows-relaxation")
    assert 0 < found.bound <= solve(problem, "swap").objective
    assert found.objective < solve(problem, "magnitude").objective


def test_quotas_on_a_single_dense_block() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 16))
    problem = PruningProblem(rng.standard_normal(16), X.T @ X / 30).within(Quotas.n_of_m(16, 2, 4))
    optimum = solve(problem, "enumeration")
    for name in (*SELECTORS, "rows-relaxation"):
        found = solve(problem, name)
        assert (found.mask.reshape(4, 4).sum(axis=1) == 2).all(), name
        assert found.objective >= optimum.bound - found.round_off, name


def test_options_out_of_range_are_refused() -> None:
    problem = make_layer(2, 4, 0).pruning(3)
    with pytest.raises(InputError, match="block: is 0"):
        solve(problem, "sparsegpt", block=0)
    with pytest.raises(InputError, match="numbers > 0 are needed"):
        solve(problem, "admm", rho=-1.0)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["greedy-obs", "swap", "sparsegpt", "admm"])
def test_the_device_does_not_change_the_mask(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    problem = make_layer(6, 40, 7).at_sparsity(0.8)
    assert (solve(problem, name, device="cuda").mask == solve(problem, name).mask).all()
