"""Many exchanges at a time: windows, the rows they are carried over to, transfers, and what the search ends with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Labels, PruningProblem, Quotas, RowsCurvature, obs_update
from cbs_opt.solvers.forms import layer_tensors
from cbs_opt.solvers.forms.layer_tensors import Layer
from cbs_opt.solvers.heuristic import row_swap_state
from cbs_opt.solvers.heuristic.row_swap import improve_rows, search
from cbs_opt.solvers.heuristic.row_swap_state import State
from cbs_opt.solvers.heuristic.row_transfer import STEPS, Offers, matched, offers_of

KINDS = ["layer", "rows", "2:4", "uneven"]


def made(kind: str, rows: int, d: int, seed: int) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2 * d + 1, d)) * np.exp(rng.standard_normal(d)) + rng.standard_normal((2 * d + 1, 1))
    problem = PruningProblem(rng.standard_normal(rows * d), RowsCurvature(X.T @ X / len(X), rows, 1e-2))
    if kind == "layer":
        return problem.at_sparsity(0.5)
    sizes = {"rows": [d] * rows, "2:4": [4] * (rows * d // 4), "uneven": [d + 3, rows * d - d - 3]}[kind]
    return problem.within(Quotas(sizes, np.array(sizes) // 2))


def row_values(problem: PruningProblem, z: np.ndarray) -> np.ndarray:
    """The loss of each row on its mask, after the update."""
    assert isinstance(problem.curvature, RowsCurvature)
    change = (obs_update(problem, z) - problem.w_bar).reshape(problem.curvature.rows, -1)
    return 0.5 * ((change @ problem.curvature.H) * change).sum(1)


def by_weight(state: State, d: int) -> list[torch.Tensor]:
    """B, T, w, residual and σ, with zeros where they are not defined, in the order of the weights."""
    R = len(state.kept)
    B, T = torch.zeros(R, d, d, dtype=torch.float64), torch.zeros(R, d, d, dtype=torch.float64)
    w, residual, schur = (torch.zeros(R, d, dtype=torch.float64) for _ in range(3))
    for r in range(R):
        kept, pruned = state.kept[r], state.pruned[r]
        at, off = torch.nonzero(kept < d)[:, 0], torch.nonzero(pruned < d)[:, 0]
        S, P = kept[at], pruned[off]
        B[r][S[:, None], S] = state.B[r][at[:, None], at].double()
        T[r][S[:, None], P] = state.T[r][at[:, None], off].double()
        w[r][S], residual[r][P] = state.w[r][at].double(), state.residual[r][off].double()
        schur[r][P] = state.schur[r][off].double()
    return [B, T, w, residual, schur]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("single", [False, True])
def test_exchanges_carried_over_leave_what_is_computed_afresh(
    kind: str, single: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_swap_state, "WINDOW", 5)
    monkeypatch.setattr(layer_tensors, "SINGLE_FROM", 1 if single else 10**9)
    rows, d = 5, 24
    problem = made(kind, rows, d, 1)
    layer = Layer.of(problem)
    assert layer.in_single == single
    z = layer.top(torch.from_numpy(np.random.default_rng(0).random((rows, d))))
    state = State.at(layer, torch.arange(rows), z)
    numbers = torch.float32 if single else torch.float64
    assert state.B.dtype == numbers
    np.testing.assert_allclose(state.value.numpy(), row_values(problem, z.numpy().ravel()), rtol=1e-9)
    moves = state.through_window(*state.promising(), 1e-6 * state.value.to(numbers))
    assert len(set(moves.tolist())) > 1, "rows that move differently many weights are what is difficult"
    after = state.mask(d)
    assert (after.sum(1) == z.sum(1)).all()
    assert problem.Z.contains(after.numpy().ravel())
    afresh = State.at(layer, torch.arange(rows), after)
    for ours, theirs in zip(by_weight(state, d), by_weight(afresh, d), strict=True):
        assert (ours - theirs).abs().max() <= (1e-3 if single else 1e-11) * theirs.abs().max()
    moved = moves > 0
    assert (afresh.value[moved] < state.value[moved]).all()
    np.testing.assert_allclose(state.value_of(layer, torch.arange(rows)), afresh.value, rtol=1e-4 if single else 1e-10)


def test_the_best_exchange_changes_the_value_by_what_it_says() -> None:
    rows, d = 3, 20
    problem = made("rows", rows, d, 2)
    layer = Layer.of(problem)
    z = layer.top(torch.from_numpy(np.random.default_rng(1).random((rows, d))))
    state = State.at(layer, torch.arange(rows), z)
    everything = torch.arange(d // 2).expand(rows, -1)
    change, i, j = state.window(everything, everything).best()
    before, found = row_values(problem, z.numpy().ravel()), np.full(rows, np.inf)
    for row in range(rows):
        for a in np.flatnonzero(z[row]):
            for b in np.flatnonzero(~z[row]):
                other = z.clone()
                other[row, a], other[row, b] = False, True
                found[row] = min(found[row], row_values(problem, other.numpy().ravel())[row] - before[row])
    np.testing.assert_allclose(change, found, rtol=1e-9)
    for row in range(rows):
        z[row, state.kept[row, i[row]]], z[row, state.pruned[row, j[row] - d // 2]] = False, True
    np.testing.assert_allclose(row_values(problem, z.numpy().ravel()) - before, found, rtol=1e-9)


def test_offers_are_what_pruning_and_keeping_one_after_the_other_costs_and_gains() -> None:
    rows, d = 4, 30
    problem = made("layer", rows, d, 3)
    layer = Layer.of(problem)
    z = layer.top(torch.from_numpy(np.random.default_rng(2).random((rows, d))))
    offers = offers_of(State.at(layer, torch.arange(rows), z), layer.labels, 0)
    for weights, said, sign in ((offers.prune, offers.cost, 1), (offers.keep, -offers.gain, -1)):
        trial, values = z.numpy().copy(), [row_values(problem, z.numpy().ravel())]
        for step in range(STEPS):
            trial[np.arange(rows), weights[:, step]] ^= True
            values.append(row_values(problem, trial.ravel()))
        changes = np.diff(np.array(values), axis=0).T
        np.testing.assert_allclose(said, np.maximum.accumulate(changes, axis=1), rtol=1e-8)
        assert (sign * changes > 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_what_is_transferred_gains_more_than_it_costs_and_a_row_gives_or_takes(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    offers = Offers.none(rows)
    offers.cost[:] = np.cumsum(rng.exponential(size=(rows, STEPS)), axis=1)
    offers.gain[:] = -np.cumsum(rng.exponential(size=(rows, STEPS)), axis=1) + 3 * rng.random((rows, 1))
    offers.prune[:] = offers.keep[:] = np.arange(STEPS)
    moves = list(matched(offers, np.ones(rows, dtype=bool), 0.0))
    best = max((offers.gain[t, 0] - offers.cost[g, 0] for g in range(rows) for t in range(rows) if g != t), default=-1)
    assert bool(moves) == (best > 0)
    for giver, prune, taker, keep in moves:
        assert len(giver) == len(taker) > 0
        assert not set(giver) & set(taker)
        assert offers.gain[taker, keep].sum() > offers.cost[giver, prune].sum()
        for of, weights in ((giver, prune), (taker, keep)):
            for row in set(of):
                assert sorted(weights[of == row]) == list(range((of == row).sum())), "in the order of the offers"


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(KINDS), st.booleans(), st.integers(0, 2**32 - 1))
def test_through_small_windows_too_no_exchange_is_left_that_helps(kind: str, single: bool, seed: int) -> None:
    rows, d = 3, 12
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_swap_state, "WINDOW", 2)
        patch.setattr(layer_tensors, "SINGLE_FROM", 1 if single else 10**9)
        problem = made(kind, rows, d, seed)
        layer = Layer.of(problem)
        start = layer.top(torch.from_numpy(np.random.default_rng(seed).random((rows, d))))
        z, value = search(layer, start)
    mask = z.numpy().ravel()
    assert problem.Z.contains(mask)
    assert mask.sum() == start.sum()
    np.testing.assert_allclose(value, row_values(problem, mask), rtol=1e-3 if layer.in_single else 1e-9)
    total, labels = row_values(problem, mask).sum(), problem.Z.labelled.labels  # type: ignore[union-attr]
    assert total <= row_values(problem, start.numpy().ravel()).sum()
    tolerance = (2e-3 if layer.in_single else 1e-7) * total
    for i in np.flatnonzero(mask):
        for j in np.flatnonzero(~mask & (labels == labels[i])):
            other = mask.copy()
            other[i], other[j] = False, True
            assert row_values(problem, other).sum() >= total - tolerance


def test_the_search_in_float32_ends_as_low(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = []
    for seed in range(6):
        problem = made(KINDS[seed % 3], 6, 64, seed)
        start = problem.Z.argmax(problem.w_bar**2 * problem.curvature.diagonal())
        totals = []
        for limit in (1, 10**9):
            monkeypatch.setattr(layer_tensors, "SINGLE_FROM", limit)
            totals.append(row_values(problem, improve_rows(problem, start)).sum())
        assert max(totals) < row_values(problem, start).sum()
        ratios.append(totals[0] / totals[1])
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 3))
def test_labels_in_any_order(seed: int, rows: int) -> None:
    """A row's first label need not be its smallest, and a label may be in any rows: the mask stays in the pattern."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(2, 7))
    count = int(rng.integers(1, rows * d + 1))
    labels = rng.permutation(np.concatenate([np.arange(count), rng.integers(0, count, rows * d - count)]))
    pattern = Labels(labels, rng.integers(0, np.bincount(labels) + 1))
    problem = made("layer", rows, d, seed).within(pattern)
    mask = improve_rows(problem)
    assert pattern.contains(mask)
    start = pattern.argmax(np.abs(problem.w_bar))
    value = row_values(problem, improve_rows(problem, start)).sum()
    assert value <= row_values(problem, start).sum() * (1 + 1e-9)
