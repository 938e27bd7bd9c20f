"""The OBS update (CBS-U): the best weights on a given support, in closed form.

With d = w − w̄, P the pruned and S the kept weights, d_P = −w̄_P and

    H_SS d_S = H_SP w̄_P − g_S                                                      (dense form)

Hassibi & Stork, Second order derivatives for network pruning: Optimal Brain Surgeon, NIPS 1992, remove
one weight by it; Yu, Serra, Ramalingam & Zhe, ICML 2022, eq. (10), a set of weights. For H = AᵀA + λI

    u = (I + A_S A_Sᵀ/λ)⁻¹ (A_P w̄_P + A_S g_S/λ),     d_S = (A_Sᵀ u − g_S)/λ          (factor form)

takes one m × m Cholesky factorization whatever n is, and never divides by λ². Where λ is tiny beside ‖A‖², rounding may
leave a gradient r on the support, with which f lies ½ rᵀH_SS⁻¹r ≤ ‖r‖²/(2λ) above its least value there; the same step,
taken from r, then refines the weights, and ``update_error`` bounds what remains.

There is no other update in the package. ``obs_update`` serves problems; ``update_dense``, ``update_factor`` and
``update_rows`` (in ``stacks``) serve many blocks at once, as NumPy arrays or torch tensors on any device.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from scipy.linalg import lapack

from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.arrays.validate import as_mask
from cbs_opt.kernel.curvature import (
    BlockDiagonalCurvature,
    Curvature,
    DiagonalCurvature,
    FactorCurvature,
    RowsCurvature,
)
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.stacks import Step, _refined, _singular, _solve_padded, _solve_samples, update_rows


def obs_update(problem: PruningProblem, mask: Mask) -> Vector:
    """The weights w, shape (n,), that minimize f among those with w_i = 0 wherever the mask prunes (CBS-U).

    Parameters
    ----------
    problem : PruningProblem
        The quadratic model; its pattern is not looked at.
    mask : boolean array, shape (n,)
        1 keeps.

    Raises
    ------
    NotPositiveDefiniteError
        H_SS, the curvature of the kept weights, has no Cholesky factor in float64; the message names a damping that
        suffices. There is no silent fallback.
    """
    z = as_mask(mask, "mask", problem.n)
    return updated(problem.curvature, problem.w_bar, z, problem.linear_term())


@singledispatch
def updated(curvature: Curvature, w_bar: Vector, z: Mask, g: Vector) -> Vector:
    """The updated weights of one problem, shape (n,), by the form that suits the class of the curvature.

    A class for which nothing is registered here is updated by the dense form.
    """
    return _update_one_dense(curvature.dense(), w_bar, z, g)


@updated.register
def _diagonal(curvature: DiagonalCurvature, w_bar: Vector, z: Mask, g: Vector) -> Vector:
    return np.where(z, w_bar - g / curvature.diagonal(), 0.0)


@updated.register
def _block_diagonal(curvature: BlockDiagonalCurvature, w_bar: Vector, z: Mask, g: Vector) -> Vector:
    parts = zip(curvature.blocks, curvature.slices, strict=True)
    return np.concatenate([updated(block, w_bar[part], z[part], g[part]) for block, part in parts])


@updated.register
def _rows(curvature: RowsCurvature, w_bar: Vector, z: Mask, g: Vector) -> Vector:
    shape = (curvature.rows, curvature.d)
    return update_rows(curvature.H, w_bar.reshape(shape), z.reshape(shape), g.reshape(shape)).ravel()


def _update_one_dense(H: Matrix, w_bar: Vector, z: Mask, g: Vector) -> Vector:
    """The dense form for one problem, without the padding of stacks, whose cost shows in thousands of small blocks."""
    w, kept = np.zeros_like(w_bar), np.flatnonzero(z)
    if not len(kept):
        return w
    H_SS, rhs = H[np.ix_(kept, kept)], (H @ np.where(z, 0.0, w_bar) - g)[kept]
    diagonal = H_SS.diagonal()
    if diagonal.min() > 0:
        # Unit diagonal: the factorization does not depend on the units of single weights.
        scale = 1.0 / np.sqrt(diagonal)
        _, d, info = lapack.dposv(H_SS * scale[:, None] * scale, rhs * scale, lower=1, overwrite_a=1, overwrite_b=1)
        if info == 0:
            w[kept] = w_bar[kept] + scale * d
            return w
    raise _singular(np, H_SS[None], np.ones((1, *H_SS.shape), dtype=np.bool_))


@updated.register
def _update_one_factor(curvature: FactorCurvature, w_bar: Vector, z: Mask, g: Vector) -> Vector:
    """The factor form for one problem; whatever A is stored in, its columns are taken in float64, some at a time."""
    lam, kept = curvature.damping, np.flatnonzero(z)
    step = (_step_in_weights if len(kept) < curvature.m else _step_in_samples)(curvature, z)
    w = np.where(z, w_bar + step(curvature.image(np.where(z, 0.0, w_bar)), g), 0.0)

    def gradient(w: Vector) -> tuple[Vector, Any]:
        d = w - w_bar
        y = curvature.image(d)
        return np.where(z, curvature.back(y) + lam * d + g, 0.0), lam * (y @ y + lam * (d @ d))

    return _refined(np, w, gradient, lambda r: np.where(z, step(None, r), 0.0))


def _step_in_weights(curvature: FactorCurvature, z: Mask) -> Step:
    """The step of the update by the |S| × |S| matrix H_SS, for supports smaller than the number of samples."""
    kept = np.flatnonzero(z)
    A_S = curvature.columns(kept)
    H_SS = (A_S.T @ A_S + curvature.damping * np.eye(len(kept)))[None]

    def step(image: Vector | None, g: Vector) -> Vector:
        rhs = -g[kept] if image is None else image @ A_S - g[kept]
        d = np.zeros(len(z))
        d[kept] = _solve_padded(np, H_SS, rhs[None], np.ones((1, len(kept)), dtype=np.bool_))[0]
        return d

    return step


def _step_in_samples(curvature: FactorCurvature, z: Mask) -> Step:
    """The step of the update by the m × m matrix λI + A_S A_Sᵀ."""
    lam = curvature.damping
    K = curvature.sample_gram(np.flatnonzero(z))
    K[np.diag_indices(curvature.m)] += lam

    def step(image: Vector | None, g: Vector) -> Vector:
        g_S = np.where(z, g, 0.0)
        rhs = (0.0 if image is None else lam * image) + (curvature.image(g_S) if g_S.any() else np.zeros(curvature.m))
        return (curvature.back(_solve_samples(np, K[None], rhs[None], lam)[0]) - g_S) / lam

    return step
