"""The oracle of a layer on tensors is the oracle of its pattern on arrays, whichever way it is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, PruningProblem, Quotas, RowsCurvature, obs_update
from cbs_opt.kernel.patterns.labelled import Labelled
from cbs_opt.solvers.forms import layer_tensors
from cbs_opt.solvers.forms.layer_tensors import Layer
from cbs_opt.solvers.forms.segments import top_of_segments
from cbs_opt.solvers.heuristic import admm, sparsegpt

KINDS = ["layer", "rows", "equal rows", "2:4", "uneven", "long"]


def pattern_of(kind: str, rows: int, d: int, rng: np.random.Generator) -> Labelled:
    n = rows * d
    keep = np.flatnonzero(rng.random(n) < 0.1) if rng.random() < 0.5 else np.array([], dtype=np.int64)
    sizes = {
        "layer": [n],
        "rows": [d] * rows,
        "equal rows": [d] * rows,
        "2:4": [4] * (n // 4),
        "uneven": [n - 5, 5],
        "long": [n // 2] * 2,
    }
    size = np.array(sizes[kind])
    forced = np.add.reduceat(np.isin(np.arange(n), keep), np.cumsum(size) - size)
    prune = np.array([rng.integers(0, most + 1) for most in size - forced])
    if kind in ("equal rows", "2:4", "long"):
        prune[:] = min(int(prune.max()), int((size - forced).min()))
    left = np.setdiff1d(np.arange(n), keep)
    forbid = left[rng.random(len(left)) < 0.1] if rng.random() < 0.5 else []
    if kind == "layer":
        return Cardinality(n, int(prune[0]), keep=keep, forbid=forbid)
    return Quotas(size, prune, keep=keep, forbid=forbid)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_same_mask_as_the_pattern(kind: str, rows: int, tied: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = 4 * int(rng.integers(2, 12))
    Z = pattern_of(kind, rows, d, rng)
    scores = rng.random(rows * d)
    if tied:
        scores = np.round(3 * scores)
    problem = PruningProblem(np.ones(rows * d), RowsCurvature(np.eye(d), rows), Z)
    layer = Layer.of(problem)
    tensor = torch.from_numpy(scores.reshape(rows, d))
    expected = Z.argmax(scores).reshape(rows, d)
    assert (layer.top(tensor).numpy() == expected).all()
    assert (layer.top(tensor.float()).numpy() == Z.argmax(scores.astype(np.float32)).reshape(rows, d)).all()
    sorted_out = top_of_segments(tensor, layer.keep, layer.forbid, layer.labels, layer.room)
    assert (sorted_out.numpy() == expected).all()


def made(rows: int, d: int, seed: int) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((3 * d, d)) @ (np.eye(d) + 0.3 * rng.standard_normal((d, d)) / np.sqrt(d))
    X += rng.standard_normal((3 * d, 1))
    return PruningProblem(rng.standard_normal(rows * d), RowsCurvature(X.T @ X / len(X), rows, 1e-2))


@pytest.mark.parametrize("kind", ["layer", "2:4", "equal rows"])
def test_masks_of_float32_are_as_good(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On layers where either is quick; the losses differ by what near-ties change."""
    rows, d = 6, 48
    for seed in range(5):
        problem = made(rows, d, seed).at_sparsity(0.5)
        if kind != "layer":
            length = 4 if kind == "2:4" else d
            problem = problem.within(Quotas(np.full(rows * d // length, length), length // 2))
        for run in (admm.run, sparsegpt.run):
            losses = []
            for limit in (1, 10**9):
                monkeypatch.setattr(layer_tensors, "SINGLE_FROM", limit)
                assert Layer.of(problem).in_single == (limit == 1)
                mask = run(problem).mask
                assert problem.Z.contains(mask)
                losses.append(problem.objective(obs_update(problem, mask)))
            assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_a_curvature_too_ill_conditioned_for_float32_stays_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_tensors, "SINGLE_FROM", 1)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8, 16))
    weak = RowsCurvature(X.T @ X / 8, 3, 1e-8)
    problem = PruningProblem(rng.standard_normal(48), weak).at_sparsity(0.5)
    assert not Layer.of(problem).in_single
    assert problem.Z.contains(admm.run(problem).mask)


def column_by_column(H: np.ndarray, W: np.ndarray, prune: int) -> np.ndarray:
    """SparseGPT from its definition, with the inverse of what is left at every step; all inputs are one block."""
    rows, d = W.shape
    scores = np.empty_like(W)
    for i in range(d):
        scores[:, i] = W[:, i] ** 2 / np.linalg.inv(H[i:, i:])[0, 0]
    z = np.ones(rows * d, dtype=bool)
    z[np.argsort(scores.ravel())[:prune]] = False
    return z.reshape(rows, d)


def test_one_block_prunes_what_the_inverse_of_what_is_left_says() -> None:
    problem = made(5, 20, 3).pruning(37)
    assert isinstance(problem.curvature, RowsCurvature)
    expected = column_by_column(problem.curvature.H, problem.w_bar.reshape(5, 20), 37)
    assert (sparsegpt.run(problem, block=20).mask.reshape(5, 20) == expected).all()
