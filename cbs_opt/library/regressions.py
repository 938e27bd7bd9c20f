"""Data sets that come with scikit-learn, as standardized columns and a centred response.

Every sum is rounded once (``regression.columns``), and all other operations work entry by entry, so that the numbers
are the same on every machine. Where the response is the label of a class, its number is fitted as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.regression.columns import Columns

Data = tuple[Matrix, Vector]


def standardized(data: Matrix) -> Matrix:
    """The columns of ``data``, shape (m, p), with mean 0 and standard deviation 1."""
    return Columns.of(data, centred=True, scaled=True).values


def quadratic(X: Matrix, without: tuple[int, ...] = ()) -> Matrix:
    """The standardized columns of X, their products and their squares, all standardized again.

    The squares of the columns ``without`` are left out.
    """
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
    """The ``diabetes`` data with 45 products and nine squares of its columns.

    The square of sex is left out: the column has two values, so that its square is a linear function of it.
    """
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
    """The ``wine`` data with 78 products and 13 squares of its columns."""
    from sklearn.datasets import load_wine

    X, y = load_wine(return_X_y=True)
    return quadratic(X), _centred(y)


def eights() -> Data:
    """scikit-learn's 1,797 images of digits: whether it is an eight, by the 61 pixels that are not always zero."""
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
