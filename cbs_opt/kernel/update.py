"""The OBS update (CBS-U): the best weights on a given support, in closed form.

With d = w − w̄, P the pruned and S the kept weights, d_P = −w̄_P and

    H_SS d_S = H_SP w̄_P − g_S                                                      (dense form)

Hassibi & Stork, Second order derivatives for network pruning: Optimal Brain Surgeon, NIPS 1992, remove
one weight; Yu, Serra, Ramalingam & Zhe, ICML 2022, eq. (10), a set of them. For H = AᵀA + λI

    u = (I + A_S A_Sᵀ/λ)⁻¹ (A_P w̄_P + A_S g_S/λ),     d_S = (A_Sᵀ u − g_S)/λ          (factor form)

one m × m Cholesky factorization whatever n is, without ever inverting λ². Where λ is tiny beside ‖A‖² the weights are
refined by the same step on their gradient r on the support, since they may lie ½ rᵀH_SS⁻¹r ≤ ‖r‖²/(2λ) above the best;
what is left is in ``update_error``.

This is the only update in the package. ``obs_update`` serves problems; ``update_dense``, ``update_factor`` and
``update_rows`` serve stacks of blocks, as NumPy arrays or torch tensors on any device.
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
    """The weights w, shape (n,), that minimize f on the support of a mask; zero elsewhere.

    Parameters
    ----------
    problem : PruningProblem
        Its pattern has no say.
    mask : boolean array, shape (n,)
        1 keeps.

    Raises
    ------
    NotPositiveDefiniteError
        H_SS has no Cholesky factor; names a damping that would do. Nothing falls back silently.
    """
    z = as_mask(mask, "mask", problem.n)
    return updated(problem.curvature, problem.w_bar, z, problem.linear_term())


@singledispatch
def updated(curvature: Curvature, w_bar: Vector, z: Mask, g: Vector) -> Vector:
    """The updated weights of one problem, (n,) each: by the dense form, unless the class has a better one here."""
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
    """The dense form of one problem, without what stacks need: small blocks by the thousand feel it."""
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
    """The factor form of one problem: columns are gathered in float64 some at a time, whatever A is stored in."""
    lam, kept = curvature.damping, np.flatnonzero(z)
    step = (_step_in_weights if len(kept) < curvature.m else _step_in_samples)(curvature, z)
    w = np.where(z, w_bar + step(curvature.image(np.where(z, 0.0, w_bar)), g), 0.0)

    def gradient(w: Vector) -> tuple[Vector, Any]:
        d = w - w_bar
        y = curvature.image(d)
        return np.where(z, curvature.back(y) + lam * d + g, 0.0), lam * (y @ y + lam * (d @ d))

    return _refined(np, w, gradient, lambda r: np.where(z, step(None, r), 0.0))


def _step_in_weights(curvature: FactorCurvature, z: Mask) -> Step:
    """By the |S| × |S| matrix."""
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
    """By the m × m matrix."""
    lam = curvature.damping
    K = curvature.sample_gram(np.flatnonzero(z))
    K[np.diag_indices(curvature.m)] += lam

    def step(image: Vector | None, g: Vector) -> Vector:
        g_S = np.where(z, g, 0.0)
        rhs = (0.0 if image is None else lam * image) + (curvature.image(g_S) if g_S.any() else np.zeros(curvature.m))
        return (curvature.back(_solve_samples(np, K[None], rhs[None], lam)[0]) - g_S) / lam

    return step
