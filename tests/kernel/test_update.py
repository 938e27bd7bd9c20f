"""The OBS update against an independent direct solve, in every form, stacked or alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt.errors import InputError, NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.curvature import (
    BlockDiagonalCurvature,
    Curvature,
    DenseCurvature,
    DiagonalCurvature,
    FactorCurvature,
)
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.stacks import update_dense, update_factor
from cbs_opt.kernel.update import obs_update


def direct(H: Matrix, w_bar: Vector, z: Mask, g: Vector) -> Vector:
    """w_S = H_SS⁻¹ b_S with b = H w̄ − g, by least squares on the kept set."""
    b = H @ w_bar - g
    w = np.zeros(len(w_bar))
    if z.any():
        w[z] = np.linalg.lstsq(H[np.ix_(z, z)], b[z], rcond=None)[0]
    return w


def batch_of(seed: int, size: int, n: int, m: int) -> tuple[Matrix, Matrix, Mask, Matrix]:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((size, m, n))
    masks = rng.random((size, n)) < rng.random((size, 1))
    masks[0], masks[-1] = True, False
    return A, rng.standard_normal((size, n)), masks, rng.standard_normal((size, n))


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 12), st.booleans())
def test_both_stacked_forms_equal_the_direct_solve(seed: int, n: int, m: int, with_g: bool) -> None:
    A, w_bar, masks, g = batch_of(seed, 5, n, m)
    H = A.transpose(0, 2, 1) @ A + 0.3 * np.eye(n)
    if not with_g:
        g = np.zeros_like(g)
    expected = [direct(*parts) for parts in zip(H, w_bar, masks, g, strict=True)]
    given_g = g if with_g else None
    np.testing.assert_allclose(update_dense(H, w_bar, masks, given_g), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(update_factor(A, 0.3, w_bar, masks, given_g), expected, rtol=1e-9, atol=1e-9)


def test_one_matrix_serves_the_whole_batch_and_leading_axes_are_kept() -> None:
    A, w_bar, masks, g = batch_of(1, 6, 5, 9)
    H = A[0].T @ A[0] + 0.1 * np.eye(5)
    expected = np.array([direct(H, *parts) for parts in zip(w_bar, masks, g, strict=True)])
    np.testing.assert_allclose(update_dense(H, w_bar, masks, g), expected, rtol=1e-9, atol=1e-9)
    shape = (2, 3, 5)
    stacked = update_dense(H, w_bar.reshape(shape), masks.reshape(shape), g.reshape(shape))
    np.testing.assert_allclose(stacked, expected.reshape(shape), rtol=1e-9, atol=1e-9)
    alone = update_dense(H, w_bar[2], masks[2], g[2])
    np.testing.assert_allclose(alone, expected[2], rtol=1e-9, atol=1e-9)


def test_a_factor_longer_than_a_chunk_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    import cbs_opt.kernel.stacks as module

    A, w_bar, masks, g = batch_of(2, 3, 40, 4)
    whole = update_factor(A, 0.2, w_bar, masks, g)
    monkeypatch.setattr(module, "COLUMN_CHUNK", 7)
    np.testing.assert_allclose(update_factor(A, 0.2, w_bar, masks, g), whole, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- problems


def kinds(seed: int) -> list[Curvature]:
    A = np.random.default_rng(seed).standard_normal((3, 6))
    return [
        DenseCurvature(A.T @ A, 0.4),
        FactorCurvature(A, 0.4),
        DiagonalCurvature(A[0] ** 2, 0.4),
        BlockDiagonalCurvature([FactorCurvature(A[:, :4], 0.4), DiagonalCurvature(A[0, 4:] ** 2, 0.4)]),
    ]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.lists(st.booleans(), min_size=6, max_size=6), st.booleans())
def test_every_curvature_equals_the_direct_solve(seed: int, mask: list[bool], with_g: bool) -> None:
    rng = np.random.default_rng(seed + 1)
    w_bar, g, z = rng.standard_normal(6), rng.standard_normal(6), np.array(mask)
    for curvature in kinds(seed):
        problem = PruningProblem(w_bar, curvature, g=g if with_g else None)
        expected = direct(curvature.dense(), w_bar, z, problem.linear_term())
        np.testing.assert_allclose(obs_update(problem, z), expected, rtol=1e-8, atol=1e-9)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_both_forms_of_optimal_brain_surgery(seed: int, mask: list[bool]) -> None:
    """For g = 0: w = w̄ − H⁻¹E_P[(H⁻¹)_PP]⁻¹w̄_P with value ½ w̄_Pᵀ[(H⁻¹)_PP]⁻¹w̄_P = c − ½ b_SᵀH_SS⁻¹b_S."""
    z = np.array(mask)
    w_bar = np.random.default_rng(seed + 1).standard_normal(6)
    problem = PruningProblem(w_bar, kinds(seed)[1])
    H, w = problem.curvature.dense(), obs_update(problem, z)
    inverse, P = np.linalg.inv(H), ~z
    u = np.linalg.solve(inverse[np.ix_(P, P)], w_bar[P])
    np.testing.assert_allclose(w, np.where(z, w_bar - inverse[:, P] @ u, 0.0), rtol=1e-8, atol=1e-9)
    assert problem.objective(w) == pytest.approx(0.5 * w_bar[P] @ u, rel=1e-8, abs=1e-10)
    b, c = H @ w_bar, 0.5 * w_bar @ H @ w_bar
    assert problem.objective(w) == pytest.approx(c - 0.5 * b[z] @ w[z], rel=1e-8, abs=1e-9)


def test_full_and_empty_supports() -> None:
    for curvature in kinds(3):
        problem = PruningProblem(np.arange(1.0, 7.0), curvature, g=np.ones(6))
        np.testing.assert_allclose(obs_update(problem, np.ones(6, dtype=bool)), problem.minimizer(), rtol=1e-9)
        np.testing.assert_array_equal(obs_update(problem, np.zeros(6, dtype=bool)), np.zeros(6))


def test_pruned_weights_are_exactly_zero_and_without_g_the_full_support_is_untouched() -> None:
    problem = PruningProblem(np.arange(1.0, 7.0), kinds(4)[1])
    z = np.array([True, False] * 3)
    assert (obs_update(problem, z)[~z] == 0).all()
    np.testing.assert_array_equal(obs_update(problem, np.ones(6, dtype=bool)), problem.w_bar)


def test_tiny_damping_does_not_cost_the_digits() -> None:
    """λ = 1e-9 of the diagonal: forms with 1/λ² lose everything here."""
    A = np.random.default_rng(5).standard_normal((4, 30))
    w_bar, z = np.random.default_rng(6).standard_normal(30), np.arange(30) % 3 > 0
    problem = PruningProblem(w_bar, FactorCurvature(A, 1e-9))
    value = problem.objective(obs_update(problem, z))
    # 20 kept weights reproduce the 4 sample responses: only the damping is left to pay.
    d = np.linalg.lstsq(A[:, z], A[:, ~z] @ w_bar[~z], rcond=None)[0]
    assert value == pytest.approx(0.5e-9 * (d @ d + w_bar[~z] @ w_bar[~z]), rel=1e-6)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("stacked", [False, True])
def test_a_support_that_is_not_positive_definite_names_a_damping_that_suffices(stacked: bool) -> None:
    H = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    masks = np.array([[True, False, True], [True, True, False]])
    w_bar = np.ones((2, 3))
    if not stacked:
        masks, w_bar = masks[1:], w_bar[1:]
    where = " of block 1" if stacked else ""
    with pytest.raises(NotPositiveDefiniteError, match=f"kept weights{where} is not positive definite") as caught:
        update_dense(H, w_bar, masks)
    needed = caught.value.sufficient_damping
    assert float(str(caught.value).rsplit(" ", 1)[1]) == needed
    update_dense(H + needed * np.eye(3), w_bar, masks)


class Unchecked(DenseCurvature):
    """Any H, as a curvature of the user's own may have it."""

    def __init__(self, H: Matrix) -> None:
        super().__init__(np.eye(len(H)))
        self._any = H

    def dense(self) -> Matrix:
        return self._any


@pytest.mark.parametrize("entry", [0.0, -1.0])
def test_a_diagonal_that_is_not_positive_is_refused_without_a_warning(entry: float) -> None:
    problem = PruningProblem([1.0, 2.0, 3.0], Unchecked(np.diag([1.0, entry, 2.0])))
    with pytest.raises(NotPositiveDefiniteError, match="kept weights is not positive definite"):
        obs_update(problem, np.array([True, True, False]))


def test_damping_lost_in_round_off_is_refused_with_one_that_is_not() -> None:
    A = np.tile(np.random.default_rng(0).standard_normal(8), (4, 1)) * 1e6
    w_bar, z = np.ones(8), np.arange(8) > 0
    with pytest.raises(NotPositiveDefiniteError, match="is lost in the round-off of AAᵀ") as caught:
        update_factor(A, 1e-12, w_bar, z)
    update_factor(A, caught.value.sufficient_damping, w_bar, z)


def test_inputs_that_are_refused() -> None:
    with pytest.raises(InputError, match="λ > 0"):
        update_factor(np.ones((2, 3)), 0.0, np.ones(3), np.ones(3, dtype=bool))
    with pytest.raises(InputError, match="mask: has shape"):
        obs_update(PruningProblem(np.ones(2), np.eye(2)), np.ones(3, dtype=bool))


# ---------------------------------------------------------------- torch


def torch_equals_numpy(device: str) -> None:
    import torch

    def tensor(array: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(device)

    for n, m in ((6, 3), (4, 9)):
        A, w_bar, masks, g = batch_of(7, 5, n, m)
        H = A.transpose(0, 2, 1) @ A + 0.3 * np.eye(n)
        for given_g in (None, g):
            on_device = None if given_g is None else tensor(given_g)
            dense = update_dense(tensor(H), tensor(w_bar), tensor(masks), on_device)
            factor = update_factor(tensor(A), 0.3, tensor(w_bar), tensor(masks), on_device)
            shared = update_dense(tensor(H[0]), tensor(w_bar), tensor(masks), on_device)
            assert dense.device.type == factor.device.type == device
            assert dense.dtype == torch.float64
            close = {"rtol": 1e-9, "atol": 1e-9}
            np.testing.assert_allclose(dense.cpu().numpy(), update_dense(H, w_bar, masks, given_g), **close)
            np.testing.assert_allclose(factor.cpu().numpy(), update_factor(A, 0.3, w_bar, masks, given_g), **close)
            np.testing.assert_allclose(shared.cpu().numpy(), update_dense(H[0], w_bar, masks, given_g), **close)
    with pytest.raises(NotPositiveDefiniteError, match="at least"):
        update_dense(tensor([[1.0, 2.0], [2.0, 1.0]]), tensor([1.0, 1.0]), tensor([True, True]))


def test_tensors_on_the_cpu_equal_arrays() -> None:
    torch_equals_numpy("cpu")


@pytest.mark.gpu
def test_tensors_on_cuda_equal_arrays() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch_equals_numpy("cuda")


def test_single_precision_and_mixtures_are_refused() -> None:
    torch = pytest.importorskip("torch")
    mask = torch.ones(2, dtype=torch.bool)
    with pytest.raises(InputError, match="not float64; convert with"):
        update_dense(torch.eye(2), torch.ones(2), mask)
    with pytest.raises(InputError, match="mixed"):
        update_dense(np.eye(2), torch.ones(2, dtype=torch.float64), mask)


# ---------------------------------------------------------------- the factor form, one step


@pytest.mark.parametrize("form", ["_step_in_weights", "_step_in_samples"])
@pytest.mark.parametrize("with_g", [False, True])
def test_one_step_of_the_factor_form(form: str, with_g: bool) -> None:
    """From w̄ with the pruned weights gone: H_SS d = A_Sᵀ(A_P w̄_P) − g_S; to refine, H_SS d = −r_S."""
    from cbs_opt.kernel import update as module

    rng = np.random.default_rng(8)
    A, z = rng.standard_normal((5, 7)), np.array([1, 0, 1, 1, 0, 1, 0], dtype=bool)
    g = rng.standard_normal(7) if with_g else np.zeros(7)
    image, H_SS = A[:, ~z] @ rng.standard_normal(3), A[:, z].T @ A[:, z] + 0.3 * np.eye(4)
    step = getattr(module, form)(FactorCurvature(A, 0.3), z)
    expected = np.linalg.solve(H_SS, A[:, z].T @ image - g[z])
    np.testing.assert_allclose(step(image, g)[z], expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(step(None, g)[z], -np.linalg.solve(H_SS, g[z]), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("m", [3, 9])
def test_the_first_step_is_right_without_any_refinement(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refinement repairs whatever the first step gets wrong, so this looks at it alone."""
    import cbs_opt.kernel.stacks as module

    monkeypatch.setattr(module, "REFINEMENTS", 0)
    rng = np.random.default_rng(m)
    A, w_bar, g, z = rng.standard_normal((m, 6)), rng.standard_normal(6), rng.standard_normal(6), np.arange(6) % 3 > 0
    problem = PruningProblem(w_bar, FactorCurvature(A, 0.2), g=g)
    expected = direct(A.T @ A + 0.2 * np.eye(6), w_bar, z, g)
    np.testing.assert_allclose(obs_update(problem, z), expected, rtol=1e-11, atol=1e-12)
    stacked = update_factor(A[None], 0.2, w_bar[None], z[None], g[None])[0]
    np.testing.assert_allclose(stacked, expected, rtol=1e-11, atol=1e-12)
