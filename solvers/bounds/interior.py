"""What the interior-point methods of this room share: Cholesky factors, and how far a step may go."""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from cbs_opt.kernel.arrays.types import Matrix, Vector


def factor(A: Matrix) -> Matrix | None:
    """The Cholesky factor of a symmetric A, None where there is none."""
    L, info = lapack.dpotrf(A.T, lower=1, clean=1)
    return L if info == 0 and np.isfinite(L[-1, -1]) else None


def inverse_of(A: Matrix) -> Matrix | None:
    """A⁻¹ of a positive definite A, None of any other."""
    L = factor(A)
    return None if L is None else back(L, np.eye(len(A)))


def forward(L: Matrix, B: Matrix) -> Matrix:
    """L⁻¹B."""
    return blas.dtrsm(1.0, L, B, lower=1)


def back(L: Matrix, x: Matrix) -> Matrix:
    """(LLᵀ)⁻¹x."""
    return lapack.dpotrs(L, x, lower=1)[0]


def room(x: Vector, dx: Vector, most: float) -> float:
    """The longest step ≤ 1 that takes no more than ``most`` of any x > 0."""
    steepest = float((dx / x).min(initial=0.0))
    return min(1.0, most / -steepest) if steepest < 0 else 1.0
