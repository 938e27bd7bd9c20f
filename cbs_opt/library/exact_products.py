"""XᵀX/m + λI and Xᵀy/m with every entry correctly rounded, so that every machine has the same float64 numbers.

Sums of products by a linear algebra library differ in their last bits from one processor to the next. Here every entry
is computed as an exact fraction, and converted to float64 by one correctly rounded division.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.proof.check.integers import Integers, exponent_of, integers


def products(left: Integers, right: Integers) -> Integers:
    """leftᵀ right without rounding, for integers of shapes (m, p) and (m, q); shape (p, q), dtype object."""
    most = max((abs(int(entry)) for array in (left, right) for entry in array.flat), default=0)
    small = most * most * len(left) < 2**62
    return _product(left.astype(np.int64), right.astype(np.int64)) if small else left.T.dot(right)


def _product(left: Integers, right: Integers) -> Integers:
    whole: Integers = (left.T @ right).astype(object)
    return whole


def gram(rows: Integers, exponent: int, damping: Fraction) -> Matrix:
    """H = RᵀR/m + λI, correctly rounded, for the m rows R = ``rows`` · 2^``exponent``; H has shape (n, n).

    Parameters
    ----------
    rows : integers, shape (m, n)
        R in units of 2^exponent, one sample a row.
    exponent : int
        The unit of ``rows``.
    damping : Fraction
        λ as a fraction of the mean diagonal of RᵀR/m; λ itself is rounded to float64.
    """
    m, n = rows.shape
    whole = products(rows, rows)
    unit = Fraction(2) ** (2 * exponent) / m
    lam = float(damping * unit * sum(whole.diagonal().tolist()) / n)
    H = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            H[i, j] = H[j, i] = float(unit * whole[i, j] + (Fraction(lam) if i == j else 0))
    return H


def least_squares(X: Matrix, y: Vector, ridge: float) -> tuple[Matrix, Vector, float]:
    """XᵀX/m + ρI, −Xᵀy/m and yᵀy/(2m), correctly rounded, for float64 arrays of shapes (m, p) and (m,)."""
    m, p = X.shape
    data = np.column_stack([X, y])
    exponent = exponent_of(data)
    whole = products(*2 * (integers(data, exponent),))
    unit = Fraction(2) ** (2 * exponent) / m
    exact = [[unit * whole[i, j] for j in range(p + 1)] for i in range(p + 1)]
    H = np.array([[float(exact[i][j] + (Fraction(ridge) if i == j else 0)) for j in range(p)] for i in range(p)])
    return H, np.array([-float(exact[i][p]) for i in range(p)]), float(exact[p][p] / 2)
