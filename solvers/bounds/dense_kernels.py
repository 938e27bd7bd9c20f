"""Compiled dense linear algebra for small matrices: no calls into BLAS, nothing that slows compilation.

Arrays are float64 and C-contiguous. Functions write into arrays they are given.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.bounds.compilation import kernel

EPS = float(np.finfo(np.float64).eps)


@kernel()
def assign(target, source):
    """target[:] = source, for vectors; slice assignment takes the compiler a second each time."""
    for i in range(target.shape[0]):
        target[i] = source[i]


@kernel()
def sort_descending(a):
    """Sort in place, largest first (Shell's method with Ciura's gaps: small, and quick to compile)."""
    n = a.shape[0]
    for gap in (701, 301, 132, 57, 23, 10, 4, 1):
        for i in range(gap, n):
            value = a[i]
            j = i
            while j >= gap and a[j - gap] < value:
                a[j] = a[j - gap]
                j -= gap
            a[j] = value


@kernel(fast=True)
def times(R, w, out):
    """out ← Rw."""
    m = w.shape[0]
    for i in range(m):
        total = 0.0
        for j in range(m):
            total += R[i, j] * w[j]
        out[i] = total


@kernel(fast=True)
def residual(R, b, w, r):
    """r ← b − Rw."""
    m = w.shape[0]
    for i in range(m):
        total = 0.0
        for j in range(m):
            total += R[i, j] * w[j]
        r[i] = b[i] - total


@kernel(fast=True)
def cholesky(A, L):
    """L with A = LLᵀ (lower triangle of A is read, of L written); False where A is not positive definite."""
    m = A.shape[0]
    for i in range(m):
        for j in range(i):
            total = A[i, j]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            L[i, j] = total / L[j, j]
        total = A[i, i]
        for k in range(i):
            total -= L[i, k] * L[i, k]
        if not total > 0.0:
            return False
        L[i, i] = np.sqrt(total)
    return True


@kernel(fast=True)
def cholesky_solve(L, x):
    """x ← (LLᵀ)⁻¹x, in place."""
    m = x.shape[0]
    for i in range(m):
        total = x[i]
        for k in range(i):
            total -= L[i, k] * x[k]
        x[i] = total / L[i, i]
    for i in range(m - 1, -1, -1):
        value = x[i] / L[i, i]
        x[i] = value
        for k in range(i):
            x[k] -= L[i, k] * value


@kernel(fast=True)
def cholesky_inverse(L, inverse):
    """inverse ← (LLᵀ)⁻¹, full symmetric matrix."""
    m = L.shape[0]
    T = np.zeros((m, m))  # L⁻¹, transposed so that rows are contiguous: T[j, i] = (L⁻¹)[i, j]
    for j in range(m):
        T[j, j] = 1.0 / L[j, j]
        for i in range(j + 1, m):
            total = 0.0
            for k in range(j, i):
                total -= L[i, k] * T[j, k]
            T[j, i] = total / L[i, i]
    for i in range(m):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, m):
                total += T[i, k] * T[j, k]
            inverse[i, j] = total
            inverse[j, i] = total
