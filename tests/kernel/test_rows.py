"""Rows that share one curvature: the same numbers as the dense Kronecker product, and as one problem a row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import BlockDiagonalCurvature, DenseCurvature, PruningProblem, RowsCurvature, obs_update
from cbs_opt.errors import InputError, NotPositiveDefiniteError, TooLargeError
from cbs_opt.kernel.arrays.types import Matrix
from cbs_opt.kernel.stacks import update_rows
from cbs_opt.testing import check_curvature


def gram(d: int, seed: int, damping: float = 0.1) -> Matrix:
    X = np.random.default_rng(seed).standard_normal((d + 3, d))
    return X.T @ X / len(X) + damping * np.eye(d)


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_equals_the_kronecker_product(rows: int, d: int, seed: int) -> None:
    H = gram(d, seed)
    curvature = RowsCurvature(H, rows)
    dense = np.kron(np.eye(rows), H)
    assert (curvature.n, curvature.d, curvature.rows) == (rows * d, d, rows)
    np.testing.assert_array_equal(curvature.dense(), dense)
    check_curvature(curvature, seed, draws=2)


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6), st.booleans())
def test_the_update_is_one_direct_solve_a_row(rows: int, d: int, seed: int, with_g: bool) -> None:
    rng = np.random.default_rng(seed)
    H, w_bar = gram(d, seed), rng.standard_normal((rows, d))
    g = rng.standard_normal((rows, d)) if with_g else np.zeros((rows, d))
    z = rng.random((rows, d)) < rng.random((rows, 1))
    problem = PruningProblem(w_bar.ravel(), RowsCurvature(H, rows), g=g.ravel() if with_g else None)
    w = obs_update(problem, z.ravel()).reshape(rows, d)
    for r in range(rows):
        S = np.flatnonzero(z[r])
        expected = np.zeros(d)
        expected[S] = np.linalg.solve(H[np.ix_(S, S)], (H @ w_bar[r] - g[r])[S])
        np.testing.assert_allclose(w[r], expected, rtol=1e-8, atol=1e-9)


def test_a_sequential_layer_has_its_minimizer_objective_and_round_off() -> None:
    """(H, b, c) with b ≠ H w̄: f(w) = c − Σ b·w + ½ Σ w·Hw over the rows."""
    rng = np.random.default_rng(3)
    rows, d = 4, 6
    H, w_bar, b, c = gram(d, 3), rng.standard_normal((rows, d)), rng.standard_normal((rows, d)), 7.0
    g = (w_bar @ H - b).ravel()
    offset = c - float((b * w_bar).sum()) + 0.5 * float((w_bar @ H * w_bar).sum())
    problem = PruningProblem(w_bar.ravel(), RowsCurvature(H, rows), g=g, offset=offset)
    w = rng.standard_normal((rows, d))
    assert problem.objective(w.ravel()) == pytest.approx(c - (b * w).sum() + 0.5 * (w @ H * w).sum())
    np.testing.assert_allclose(problem.minimizer().reshape(rows, d), np.linalg.solve(H, b.T).T, rtol=1e-9, atol=1e-10)
    assert problem.round_off(w.ravel()) > 0
    everything = obs_update(problem, np.ones(rows * d, dtype=bool))
    np.testing.assert_allclose(everything, problem.minimizer(), rtol=1e-8, atol=1e-9)


def test_few_rows_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import cbs_opt.kernel.stacks as module

    rng = np.random.default_rng(5)
    H, w_bar, z = gram(9, 5), rng.standard_normal((20, 9)), rng.random((20, 9)) < 0.5
    whole = update_rows(H, w_bar, z)
    monkeypatch.setattr(module, "ROWS_BYTES", 8 * 30)
    np.testing.assert_allclose(update_rows(H, w_bar, z), whole, rtol=1e-12, atol=1e-13)


def test_the_same_as_blocks_that_share_a_curvature() -> None:
    rng = np.random.default_rng(1)
    shared = DenseCurvature(gram(5, 1))
    w, z = rng.standard_normal(15), rng.random(15) < 0.6
    as_rows = PruningProblem(w, RowsCurvature(shared, 3))
    as_blocks = PruningProblem(w, BlockDiagonalCurvature([shared] * 3))
    np.testing.assert_allclose(obs_update(as_rows, z), obs_update(as_blocks, z), rtol=1e-10)
    assert as_rows.objective(0 * w) == pytest.approx(as_blocks.objective(0 * w))


def torch_equals_numpy(device: str) -> None:
    import torch

    rng = np.random.default_rng(2)
    H, w_bar, z, g = gram(7, 2), rng.standard_normal((6, 7)), rng.random((6, 7)) < 0.5, rng.standard_normal((6, 7))
    tensors = [torch.from_numpy(array).to(device) for array in (H, w_bar, z, g)]
    found = update_rows(*tensors)
    assert found.device.type == device
    np.testing.assert_allclose(found.cpu().numpy(), update_rows(H, w_bar, z, g), rtol=1e-9, atol=1e-10)


def test_tensors_on_the_cpu_equal_arrays() -> None:
    torch_equals_numpy("cpu")


@pytest.mark.gpu
def test_tensors_on_cuda_equal_arrays() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch_equals_numpy("cuda")


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="rows: is 0"):
        RowsCurvature(np.eye(2), 0)
    with pytest.raises(InputError, match=r"rows: is 1\.5"):
        RowsCurvature(np.eye(2), 1.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"damping: is 0\.1, but the given curvature has its own"):
        RowsCurvature(DenseCurvature(np.eye(2)), 2, damping=0.1)
    with pytest.raises(NotPositiveDefiniteError):
        RowsCurvature(np.ones((2, 2)), 3)
    with pytest.raises(TooLargeError, match="the dense 30000 × 30000 curvature"):
        RowsCurvature(np.eye(3), 10_000).dense()
