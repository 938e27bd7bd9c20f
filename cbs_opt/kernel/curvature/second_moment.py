"""Ĥ ≈ AᵀA/q + λI in float64, each entry off by about one rounding however many rows A has, and bounds on the errors.

A is split into A = B + C, where B holds the β leading bits of every entry, counted from the largest exponent of its
column. A product of two columns of B is a sum of m integers of 2β bits, in a unit of its own, which float64 computes
exactly in any order where m·2^(2β) ≤ 2^53. In

    AᵀA = BᵀB + FᵀC + CᵀF,     F = B + C/2,

only the small FᵀC is rounded, by at most γ‖F_i‖‖C_j‖ with γ ≈ m·eps. The sum of the three is kept as two numbers, the
second of which is what rounding takes off the first (K. Ozaki, T. Ogita, S. Oishi & S. M. Rump, Error-free
transformations of matrix multiplication, Numerical Algorithms 59, 2012; T. J. Dekker, Numerische Mathematik 18, 1971).

Where the exact H differs from Ĥ by |H_ij − Ĥ_ij| ≤ E_ij with a symmetric E, any x > 0 gives −diag(e) ⪯ H − Ĥ ⪯ diag(e)
with

    e_i = Σ_j E_ij x_j / x_i,                                                                  (slack)

since the matrix diag(e) − E has no positive entry off its diagonal and maps x to zero. Here x_i = Ĥ_ii^(−½).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector

CHUNK_ENTRIES = 2**20
"""Entries of A that are held in float64 at a time."""

SMALL = 2.0**-450
"""The product of two numbers of at least this size does not underflow, nor does that of their last bits."""

SMALLEST = 2.0**-1074
"""The smallest positive number of float64."""

CAUTION = 1.0 + 1e-6
"""A factor that covers the rounding in norms and in sums of error bounds."""


def second_moment(A: NDArray[Any], damping: float, divisor: int = 1) -> tuple[Matrix, Vector]:
    """Ĥ, shape (n, n), symmetric, and e ≥ 0, shape (n,), with −diag(e) ⪯ AᵀA/divisor + λI − Ĥ ⪯ diag(e).

    Parameters
    ----------
    A : array, shape (m, n), float64 or float32
        One sample a row.
    damping : float
        λ ≥ 0.
    divisor : int
        The q by which AᵀA is divided.
    """
    m, n = A.shape
    largest, smallest = _sizes(A)
    bits = (53 - m.bit_length()) // 2
    exponents = np.frexp(largest)[1]
    square, cross = np.zeros((n, n)), np.zeros((n, n))
    fine, coarse = np.zeros(n), np.zeros(n)  # ‖C_i‖² and ‖F_i‖²
    for part in _parts(A):
        B = np.ldexp(np.rint(np.ldexp(part, bits - exponents)), exponents - bits)
        C = part - B
        F = B + 0.5 * C
        square += B.T @ B
        cross += F.T @ C
        fine += np.einsum("ij,ij->j", C, C)
        coarse += np.einsum("ij,ij->j", F, F)
    diagonal = (square.diagonal() + 2.0 * cross.diagonal()) / divisor + damping
    scale = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    e = np.empty(n)
    for start in range(0, n, max(1, CHUNK_ENTRIES // (16 * n))):
        rows = slice(start, start + max(1, CHUNK_ENTRIES // (16 * n)))
        square[rows], error = _summed(square[rows], cross[rows] + cross[:, rows].T, start, damping, divisor)
        if smallest < SMALL:
            error += 8.0 * m * SMALLEST
        e[rows] = scale[rows] * (error @ (1.0 / scale))
    fine, coarse = np.sqrt(fine), np.sqrt(coarse)
    products = coarse * float((fine / scale).sum()) + fine * float((coarse / scale).sum())
    return square, CAUTION * (e + scale * products * ((m + 8) * EPS / divisor))


def _summed(square: Matrix, cross: Matrix, start: int, damping: float, divisor: int) -> tuple[Matrix, Matrix]:
    """(square + cross)/divisor + λI for the rows from ``start`` on, and how far each entry may be off."""
    H, rest = two_sum(square, cross)
    if divisor != 1:
        H, rest = H / divisor, rest / divisor
    exact = divisor & (divisor - 1) == 0
    error = np.zeros_like(H) if exact else 0.5 * EPS * np.abs(H)
    at = np.arange(len(H)), start + np.arange(len(H))
    H[at], lost = two_sum(H[at], damping)
    rest[at], lost = two_sum(rest[at], lost)
    error[at] += np.abs(lost)
    H, rest = two_sum(H, rest)
    return H, error + np.abs(rest)


def slack(error: Matrix, scale: Vector) -> Vector:
    """The diagonal e that covers the errors of a rounded curvature: (slack) for the errors E and x = 1/``scale``.

    Parameters
    ----------
    error : array, shape (n, n)
        Bounds E_ij ≥ 0 on how far each entry may be off.
    scale : array, shape (n,)
        Positive numbers, as those of ``scales``.
    """
    return np.asarray(CAUTION * scale * (error @ (1.0 / scale)))


def scales(H: Matrix) -> Vector:
    """√H_ii, shape (n,); 1 where H_ii is not positive."""
    diagonal = H.diagonal()
    return np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))


def _sizes(A: NDArray[Any]) -> tuple[Vector, float]:
    """The largest |A_ij| of every column, and the smallest |A_ij| > 0 of the whole A (infinite where there is none)."""
    largest, smallest = np.zeros(A.shape[1]), np.inf
    for part in _parts(A):
        sizes = np.abs(part)
        largest = np.maximum(largest, sizes.max(axis=0))
        smallest = min(smallest, float(sizes.min(where=sizes > 0.0, initial=np.inf)))
    return largest, smallest


def _parts(A: NDArray[Any]) -> Iterator[Matrix]:
    """A in float64, some rows at a time."""
    step = max(1, CHUNK_ENTRIES // A.shape[1])
    for start in range(0, len(A), step):
        yield A[start : start + step].astype(np.float64, copy=False)


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b rounded, and exactly what the rounding lost (D. E. Knuth, The Art of Computer Programming 2, 4.2.2)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)
