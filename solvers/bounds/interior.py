"""What the interior-point methods of this package share: Cholesky factors, and how far a step may go."""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from cbs_opt.kernel.arrays.types import Matrix, Vector


def factor(A: Matrix) -> Matrix | None:
    """The lower Cholesky factor of a symmetric A; None where A has none."""
    L, info = lapack.dpotrf(A.T, lower=1, clean=1)
    return L if info == 0 and np.isfinite(L[-1, -1]) else None


def inverse_of(A: Matrix) -> Matrix | None:
    """A⁻¹ for a positive definite A; None for any other."""
    L = factor(A)
    return None if L is None else back(L, np.eye(len(A)))


def forward(L: Matrix, B: Matrix) -> Matrix:
    """L⁻¹B for a lower triangular L."""
    return blas.dtrsm(1.0, L, B, lower=1)


def back(L: Matrix, x: Matrix) -> Matrix:
    """(LLᵀ)⁻¹x for a lower triangular L."""
    return lapack.dpotrs(L, x, lower=1)[0]


def room(x: Vector, dx: Vector, most: float) -> float:
    """The longest step along ``dx``, at most 1, that takes no more than the part ``most`` off any entry of x > 0."""
    steepest = float((dx / x).min(initial=0.0))
    return min(1.0, most / -steepest) if steepest < 0 else 1.0
