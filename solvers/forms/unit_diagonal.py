"""H in units where its diagonal is one.

With D = diag(H)^½ the matrix U = D⁻¹HD⁻¹ has a unit diagonal, and the weights in these units are D w. No other diagonal
scaling has a condition number that is lower by more than a factor n (van der Sluis, Numerische Mathematik 14, 1969),
and what is computed from U and D c does not depend on the units of H or of single weights.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cholesky, lapack

from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector


def unit_diagonal(H: Matrix) -> tuple[Matrix, Vector]:
    """U and the diagonal of D, for ``H`` ≻ 0 of shape (n, n).

    U, and so every principal submatrix of it, can be relied on to have a Cholesky factor. An H that was formed as AᵀA +
    λI with a tiny λ may lack one by round-off; the diagonal of U is then raised by as much as is needed.
    """
    n = len(H)
    scale = np.sqrt(H.diagonal())
    U = H / scale / scale[:, None]
    U[np.diag_indices(n)] = 1.0
    margin = 2.0 * (n + 1) * EPS
    raised = 0.0
    while True:
        trial = U.copy()
        trial[np.diag_indices(n)] += raised - margin
        try:
            cholesky(trial, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            raised = max(2.0 * raised, 2.0 * margin)
        else:
            U[np.diag_indices(n)] += raised
            return U, scale


def inverse_of(factor: Matrix) -> Matrix:
    """(LLᵀ)⁻¹ in full, column-major, from the lower Cholesky factor L of shape (k, k)."""
    if not factor.size:
        return np.zeros((0, 0), order="F")
    lower, info = lapack.dpotri(factor, lower=1)
    assert info == 0, "a Cholesky factor is regular"
    return np.asfortranarray(np.tril(lower) + np.tril(lower, -1).T)
