"""Systems of many rows with a shared curvature, solved by factors in float32 and refined in float64.

In the systems H_SS d = rhs of the rows of a layer the curvature H is the same, and S, the kept weights of the row, is
not. H is scaled to unit diagonal (U) and each U_SS factorized in float32, which takes half the time and half the
memory. With M, the product of the factors, the steps

    r = rhs − U_SS d (of all rows, one product in float64),      d ← d + M⁻¹r,

are repeated until r is as small as a factorization in float64 would leave it. This is **checked** for every row: a d
with ‖r‖ ≤ 2·eps·(‖U‖ ‖d‖ + ‖rhs‖) solves exactly a system that differs from the given one by the rounding of its
entries. Rows whose factor does not exist in float32, or that fail the check, are marked as not solved; the caller
solves them in float64.

J. H. Wilkinson, Rounding errors in algebraic processes, 1963; Higham & Mary, Mixed precision algorithms in numerical
linear algebra, Acta Numerica 31, 2022: it converges where cond(U_SS) is below about 1e7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix

FROM_ORDER = 96
"""The number of kept weights from which rows are solved this way; with fewer, stacks in float64 are as fast."""

CORRECTIONS = 12
"""Most corrections of a row. Each gains about 7 − log10(cond U_SS) digits, 7 being those of float32."""

Single = NDArray[np.float32]


def solved_rows(H: Matrix, rhs: Matrix, mask: Mask) -> tuple[Matrix, Mask]:
    """The solution d of H_SS d_S = rhs_S for each row, zero off S, and which rows are solved.

    Parameters
    ----------
    H : array, shape (d, d)
        The curvature that the rows share.
    rhs : array, shape (rows, d)
        One right-hand side for each row.
    mask : boolean array, shape (rows, d)
        S of each row.

    Returns
    -------
    d : array, shape (rows, d)
        The solutions.
    solved : boolean array, shape (rows,)
        False for the rows that remain to be solved in float64; their d means nothing.
    """
    diagonal = H.diagonal()
    if not (diagonal > 0).all():
        return np.zeros_like(rhs), np.zeros(len(rhs), dtype=np.bool_)
    scale = 1.0 / np.sqrt(diagonal)
    U = H * scale * scale[:, None]
    asked = np.where(mask, rhs * scale, 0.0)
    factors = _factors(U.astype(np.float32), mask)
    solved = np.array([factor is not None for factor in factors])
    norm, size = float(np.abs(U).sum(axis=1).max()), _norms(asked)
    d, rest, before = np.zeros_like(asked), asked.copy(), np.full(len(asked), np.inf)
    open_rows = np.flatnonzero(solved)
    for _ in range(CORRECTIONS + 1):
        if not len(open_rows):
            break
        for row in open_rows:
            d[row] += _solution(factors[row], rest[row], mask[row])
        some = d[open_rows]
        rest[open_rows] = np.where(mask[open_rows], asked[open_rows] - some @ U, 0.0)
        left = _norms(rest[open_rows])
        done = left <= 2.0 * EPS * (norm * _norms(some) + size[open_rows])
        stuck = ~done & ~(left < 0.5 * before[open_rows])  # a NaN is stuck
        solved[open_rows[stuck]] = False
        before[open_rows] = left
        open_rows = open_rows[~(done | stuck)]
    solved[open_rows] = False
    return d * scale, solved


def _factors(U: Single, mask: Mask) -> list[Single | None]:
    """The lower Cholesky factor of U_SS of each row, column-major; None where it does not exist in float32."""
    factors: list[Single | None] = []
    for z in mask:
        U_SS = U[z].T[z]  # symmetric
        factor, info = lapack.spotrf(U_SS.T, lower=1, clean=0, overwrite_a=1)
        factors.append(factor if info == 0 else None)
    return factors


def _solution(factor: Single | None, rest: Matrix, z: Mask) -> Matrix:
    """M⁻¹r of one row, shape (d,), zero off S; r is scaled so that its entries fit into float32."""
    step, r = np.zeros_like(rest), rest[z]
    largest = float(np.abs(r).max(initial=0.0))
    if not largest > 0:
        return step
    half = blas.strsv(factor, (r / largest).astype(np.float32), lower=1, overwrite_x=1)
    step[z] = largest * blas.strsv(factor, half, lower=1, trans=1, overwrite_x=1).astype(np.float64)
    return step


def _norms(rows: Matrix) -> Matrix:
    return np.sqrt(np.einsum("ri,ri->r", rows, rows))
