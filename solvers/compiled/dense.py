"""Compiled dense linear algebra for small matrices: no calls into BLAS, nothing that slows compilation.

Arrays are float64 and C-contiguous. Functions write their results into arrays that they are given.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled

EPS = float(np.finfo(np.float64).eps)


@compiled()
def assign(target, source):
    """target[:] = source, for vectors: every slice assignment would take the compiler a second."""
    for i in range(target.shape[0]):
        target[i] = source[i]


@compiled(fast=True)
def times(R, w, out):
    """out ← Rw."""
    m = w.shape[0]
    for i in range(m):
        total = 0.0
        for j in range(m):
            total += R[i, j] * w[j]
        out[i] = total


@compiled(fast=True)
def residual(R, b, w, r):
    """r ← b − Rw."""
    m = w.shape[0]
    for i in range(m):
        total = 0.0
        for j in range(m):
            total += R[i, j] * w[j]
        r[i] = b[i] - total


@compiled(fast=True)
def cholesky(A, L):
    """L ← the factor of A = LLᵀ; False where A is not positive definite. Only lower triangles are read and written.

    Four rows are computed at a time, so that a row that is read serves four dot products.
    """
    m = A.shape[0]
    whole = m - m % 4
    for first in range(0, m, 4):
        last = first + 4 if first < whole else m
        if first < whole:
            for j in range(first):
                t0, t1, t2, t3 = A[first, j], A[first + 1, j], A[first + 2, j], A[first + 3, j]
                for k in range(j):
                    x = L[j, k]
                    t0 -= L[first, k] * x
                    t1 -= L[first + 1, k] * x
                    t2 -= L[first + 2, k] * x
                    t3 -= L[first + 3, k] * x
                x = L[j, j]
                L[first, j], L[first + 1, j], L[first + 2, j], L[first + 3, j] = t0 / x, t1 / x, t2 / x, t3 / x
        for i in range(first, last):
            for j in range(first if first < whole else 0, i):
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


@compiled(fast=True)
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


@compiled(fast=True)
def triangular_inverse(L):
    """X = L⁻¹, of which the lower triangle counts, in an array (m + 3, m) whose last three rows are zero.

    The rows of zeros allow four rows to be handled at a time.
    """
    m = L.shape[0]
    X = np.zeros((m + 3, m))
    for i in range(m):
        for first in range(0, i, 4):
            l0 = L[i, first]
            l1 = L[i, first + 1] if first + 1 < i else 0.0
            l2 = L[i, first + 2] if first + 2 < i else 0.0
            l3 = L[i, first + 3] if first + 3 < i else 0.0
            for j in range(min(first + 4, i)):
                X[i, j] -= l0 * X[first, j] + l1 * X[first + 1, j] + l2 * X[first + 2, j] + l3 * X[first + 3, j]
        pivot = 1.0 / L[i, i]
        for j in range(i):
            X[i, j] *= pivot
        X[i, i] = pivot
    return X


@compiled(fast=True)
def cholesky_inverse(L, inverse):
    """The lower triangle of ``inverse`` ← that of (LLᵀ)⁻¹ = XᵀX with X = L⁻¹, by four rows of X at a time."""
    m = L.shape[0]
    X = triangular_inverse(L)
    for i in range(m):
        for j in range(i + 1):
            inverse[i, j] = 0.0
    for first in range(0, m, 4):
        for i in range(min(first + 4, m)):
            x0, x1, x2, x3 = X[first, i], X[first + 1, i], X[first + 2, i], X[first + 3, i]
            for j in range(i + 1):
                inverse[i, j] += x0 * X[first, j] + x1 * X[first + 1, j] + x2 * X[first + 2, j] + x3 * X[first + 3, j]


@compiled(fast=True)
def inverse_diagonal(L, diagonal):
    """diagonal ← the diagonal of (LLᵀ)⁻¹."""
    m = L.shape[0]
    X = triangular_inverse(L)
    for j in range(m):
        diagonal[j] = 0.0
    for i in range(m):
        for j in range(i + 1):
            diagonal[j] += X[i, j] * X[i, j]


@compiled()
def eliminate_small(A, x):
    """x ← A⁻¹x by elimination without pivoting, which overwrites A; False where a pivot is not positive.

    It is made for the multipliers of a few labels, where A is positive definite but for the scale of its rows.
    """
    n = x.shape[0]
    sound = True
    for k in range(n):
        sound = sound and A[k, k] > 0.0
        for i in range(k + 1, n):
            factor = A[i, k] / A[k, k]
            for j in range(k + 1, n):
                A[i, j] -= factor * A[k, j]
            x[i] -= factor * x[k]
    for k in range(n - 1, -1, -1):
        for j in range(k + 1, n):
            x[k] -= A[k, j] * x[j]
        x[k] /= A[k, k]
    return sound
