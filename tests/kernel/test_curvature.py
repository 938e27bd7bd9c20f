"""The kinds of curvature obey the same laws, each against its own dense matrix; what they refuse, in words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt.errors import InputError, NotPositiveDefiniteError, TooLargeError
from cbs_opt.kernel.curvature import (
    BlockDiagonalCurvature,
    Curvature,
    DenseCurvature,
    DiagonalCurvature,
    FactorCurvature,
    resolve_damping,
)
from cbs_opt.kernel.curvature import base as base_module
from cbs_opt.testing import check_curvature

KINDS = ("dense", "factor-wide", "factor-tall", "diagonal", "block-diagonal")


def make(kind: str, seed: int, n: int = 6) -> Curvature:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n + 2, n))
    if kind == "dense":
        return DenseCurvature(A.T @ A, 0.1)
    if kind == "factor-wide":
        return FactorCurvature(A[: max(1, n // 2)], 0.3)
    if kind == "factor-tall":
        return FactorCurvature(A, 0.3)
    if kind == "diagonal":
        return DiagonalCurvature(rng.random(n), 0.2)
    shared = FactorCurvature(A[:2], 0.5)
    return BlockDiagonalCurvature([shared, DiagonalCurvature(rng.random(3) + 0.1), shared, DenseCurvature(A.T @ A)])


@settings(max_examples=25)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.integers(1, 9))
def test_laws(kind: str, seed: int, n: int) -> None:
    curvature = make(kind, seed, n)
    check_curvature(curvature, seed, draws=2)
    assert curvature.damping > 0
    assert curvature.kind in kind


@pytest.mark.parametrize("damping", [1e-3, 1e-7, 1e-11])
@pytest.mark.parametrize("samples", [3, 6, 12])
def test_a_weakly_damped_factor_is_solved_to_round_off(damping: float, samples: int) -> None:
    """The residual is what rounding x could cause, more samples than weights too: AAᵀ + λI is then nearly singular."""
    rng = np.random.default_rng(3)
    curvature = FactorCurvature(rng.standard_normal((samples, 6)), damping)
    v = rng.standard_normal(6)
    x = curvature.solve(v)
    root = np.sqrt(curvature.diagonal())
    residual = np.abs(curvature.matvec(x) - v) / root
    assert residual.max() <= 16 * np.finfo(float).eps * float(root @ np.abs(x))


def test_stored_arrays_are_read_only() -> None:
    H = make("dense", 0).dense()
    with pytest.raises(ValueError, match="read-only"):
        H[0, 0] = 1.0
    factor = make("factor-wide", 0)
    assert isinstance(factor, FactorCurvature)
    with pytest.raises(ValueError, match="read-only"):
        factor.A[0, 0] = 1.0


# ---------------------------------------------------------------- symmetry and definiteness


def test_asymmetry_names_the_entry_and_round_off_is_noted() -> None:
    H = np.eye(4) * 2
    H[1, 3] = 0.5
    with pytest.raises(InputError, match=r"^H: not symmetric, H\[(1,3|3,1)\] = .*give \(H \+ Hᵀ\)/2"):
        DenseCurvature(H)
    H[1, 3] = 1e-12
    curvature = DenseCurvature(H)
    assert curvature.notes == ("H symmetrised: entries differed by at most 1e-12",)
    np.testing.assert_array_equal(curvature.dense(), curvature.dense().T)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(-8, 8), st.sampled_from([0.0, 0.37]))
def test_indefinite_matrices_name_a_damping_that_suffices(seed: int, n: int, exponent: float, damping: float) -> None:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    scale = 10.0**exponent
    H = (A + A.T) * scale
    H[0, 0] = -abs(H[0, 0])
    with pytest.raises(NotPositiveDefiniteError, match=r"^H: not positive definite.* at least") as caught:
        DenseCurvature(H, damping * scale * 1e-3)
    printed = float(str(caught.value).rsplit(" ", 1)[1])
    assert printed == caught.value.sufficient_damping
    DenseCurvature(H, printed)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 10), st.floats(-6, 6))
def test_singular_matrices_name_a_damping_that_suffices(seed: int, n: int, exponent: float) -> None:
    A = np.random.default_rng(seed).standard_normal((n - 1, n)) * 10.0**exponent
    with pytest.raises(NotPositiveDefiniteError) as caught:
        DenseCurvature(A.T @ A)
    needed = caught.value.sufficient_damping
    assert needed < 1e-6 * np.trace(A.T @ A)
    DenseCurvature(A.T @ A, needed)


def test_the_zero_matrix_needs_some_damping() -> None:
    with pytest.raises(NotPositiveDefiniteError, match=r"H\[0,0\] = 0; give H \+ λI with a damping λ of at least 1$"):
        DenseCurvature(np.zeros((3, 3)))
    DenseCurvature(np.zeros((3, 3)), 1.0)


def test_a_diagonal_that_is_not_positive_names_the_entry_and_a_damping_that_suffices() -> None:
    with pytest.raises(NotPositiveDefiniteError, match=r"diagonal: entry 1 is -1\.03457 with the damping") as caught:
        DiagonalCurvature([1.0, -1.2345678], 0.2)
    DiagonalCurvature([1.0, -1.2345678], caught.value.sufficient_damping)


def test_badly_scaled_but_definite_matrices_are_taken() -> None:
    scale = 10.0 ** np.arange(-9, 9, 3)
    H = scale[:, None] * (0.5 * np.eye(6) + 0.5) * scale
    assert DenseCurvature(H).n == 6


@pytest.mark.parametrize("exponent", [-200, -10, 10, 200])
def test_the_units_of_H_do_not_matter(exponent: int) -> None:
    A = np.random.default_rng(0).standard_normal((6, 6))
    DenseCurvature(A.T @ A * 10.0**exponent)


def test_wrong_shapes_and_kinds() -> None:
    with pytest.raises(InputError, match=r"H: has shape \(2, 3\); a square matrix"):
        DenseCurvature(np.ones((2, 3)))
    with pytest.raises(InputError, match="blocks: is empty"):
        BlockDiagonalCurvature([])
    with pytest.raises(InputError, match="blocks: entry 1 is a ndarray"):
        BlockDiagonalCurvature([DiagonalCurvature([1.0]), np.eye(2)])  # type: ignore[list-item]
    with pytest.raises(InputError, match="damping: is 0"):
        FactorCurvature(np.ones((2, 3)), 0.0)
    with pytest.raises(InputError, match="damping: is -1"):
        FactorCurvature(np.ones((2, 3)), -1.0)


def test_the_dense_form_is_refused_beyond_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_module, "MAX_DENSE", 5)
    with pytest.raises(TooLargeError, match="the dense 6 × 6 curvature"):
        make("factor-wide", 0).dense()


# ---------------------------------------------------------------- damping and blocks


def test_damping_is_absolute_or_a_fraction_never_both() -> None:
    assert resolve_damping(0.5, None, 3.0) == 0.5
    assert resolve_damping(None, 0.5, 3.0) == 1.5
    for both in ((0.1, 0.1), (None, None)):
        with pytest.raises(InputError, match="exactly one of damping"):
            resolve_damping(*both, 1.0)
    with pytest.raises(InputError, match="dampening_frac: is nan"):
        resolve_damping(None, np.nan, 1.0)


def test_a_shared_block_is_held_once_and_notes_are_not_repeated() -> None:
    H = np.eye(2)
    H[0, 1] = 1e-13
    shared = DenseCurvature(H, 0.5)
    curvature = BlockDiagonalCurvature([shared, shared, DenseCurvature(np.eye(1), 0.7)])
    assert curvature.blocks[0] is curvature.blocks[1]
    assert curvature.slices == (slice(0, 2), slice(2, 4), slice(4, 5))
    assert curvature.damping == 0.7
    assert len(curvature.notes) == 1
