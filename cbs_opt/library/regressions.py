"""Data sets that scikit-learn carries, as standardized columns and a centred response.

Sums are rounded once (``regression.columns``), and the rest is done entry by entry, so that the numbers are the same on
every machine. Labels of classes serve as numbers: a linear discriminant.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.regression.columns import Columns

Data = tuple[Matrix, Vector]


def standardized(data: Matrix) -> Matrix:
    """Mean 0 and standard deviation 1, shape (m, p) as ``data``."""
    return Columns.of(data, centred=True, scaled=True).values


def quadratic(X: Matrix, without: tuple[int, ...] = ()) -> Matrix:
    """Standardized columns, their products and their squares (those ``without`` left out), standardized again."""
    Z = standardized(X)
    p = Z.shape[1]
    products = [Z[:, i] * Z[:, j] for i in range(p) for j in range(i + 1, p)]
    squares = [Z[:, i] * Z[:, i] for i in range(p) if i not in without]
    return standardized(np.column_stack([Z, *products, *squares]))


def diabetes() -> Data:
    """Efron, Hastie, Johnstone & Tibshirani 2004: 442 patients, ten measurements."""
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True, scaled=False)
    return standardized(X), _centred(y)


def diabetes_quadratic() -> Data:
    """The same with 45 products and nine squares; that of sex, a column of two values, says nothing new."""
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True, scaled=False)
    return quadratic(X, without=(1,)), _centred(y)


def breast_cancer() -> Data:
    """Wolberg, Street & Mangasarian 1993: 569 tumours, 30 measurements, malignant or not."""
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return standardized(X), _centred(y)


def wine() -> Data:
    """Forina et al. 1988: 178 wines, 13 measurements, three cultivars."""
    from sklearn.datasets import load_wine

    X, y = load_wine(return_X_y=True)
    return standardized(X), _centred(y)


def wine_quadratic() -> Data:
    """The same with 78 products and 13 squares."""
    from sklearn.datasets import load_wine

    X, y = load_wine(return_X_y=True)
    return quadratic(X), _centred(y)


def eights() -> Data:
    """scikit-learn's 1,797 digits: eight or not, by the 61 pixels that are not always zero."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return standardized(X[:, X.any(axis=0)]), _centred((y == 8).astype(np.float64))


def _centred(y: Vector) -> Vector:
    return Columns.of(np.asarray(y, dtype=np.float64)[:, None], centred=True, scaled=False).values[:, 0]


SETS: dict[str, Callable[[], Data]] = {
    "diabetes10": diabetes,
    "diabetes64": diabetes_quadratic,
    "breast-cancer30": breast_cancer,
    "wine13": wine,
    "wine104": wine_quadratic,
    "eights61": eights,
}
