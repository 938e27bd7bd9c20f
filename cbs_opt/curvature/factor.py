"""H = AᵀA + λI with a factor A of few rows; H itself is never formed unless asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from cbs_opt.curvature.base import Curvature
from cbs_opt.curvature.dense import require_positive_definite
from cbs_opt.errors import InputError
from cbs_opt.validate import Matrix, Vector, as_array, as_nonnegative, frozen


class FactorCurvature(Curvature):
    """H = AᵀA + λI, for instance the empirical Fisher with A = G/√m of m per-sample gradients.

    Parameters
    ----------
    A : array, shape (m, n)
        One row a sample, already divided by √m.
    damping : float
        λ > 0, in the units of H. A factor of fewer rows than columns is singular without it.
    """

    kind = "factor"

    def __init__(self, A: Any, damping: float) -> None:
        self._A = frozen(as_array(A, "A", 2))
        self._damping = as_nonnegative(damping, "damping")
        if self._damping == 0:
            raise InputError("damping: is 0; a factored curvature AᵀA + λI needs λ > 0")

    @property
    def A(self) -> Matrix:
        """The factor, shape (m, n), read-only."""
        return self._A

    @property
    def n(self) -> int:
        return self._A.shape[1]

    @property
    def damping(self) -> float:
        return self._damping

    def matvec(self, v: Vector) -> Vector:
        return self._A.T @ (self._A @ v) + self._damping * v

    def quadratic(self, v: Vector) -> float:
        image = self._A @ v
        return float(image @ image + self._damping * (v @ v))

    def diagonal(self) -> Vector:
        return np.einsum("ij,ij->j", self._A, self._A) + self._damping

    def inverse_diagonal(self) -> Vector:
        # H⁻¹ = (I − Aᵀ(AAᵀ + λI)⁻¹A)/λ; with LLᵀ = AAᵀ + λI the diagonal is (1 − ‖L⁻¹A e_i‖²)/λ.
        if self.n <= len(self._A):
            return np.diag(np.linalg.inv(self._form_dense())).copy()
        half = solve_triangular(self._sample_cholesky[0], self._A, lower=True, check_finite=False)
        difference = (1.0 - np.einsum("ij,ij->j", half, half)) / self._damping
        # (H⁻¹)_ii ≥ 1/H_ii always; the difference falls below it only where λ is lost in its own round-off.
        return np.maximum(difference, 1.0 / self.diagonal())

    def solve(self, v: Vector) -> Vector:
        inner = cho_solve(self._sample_cholesky, self._A @ v)
        return (v - self._A.T @ inner) / self._damping

    def _form_dense(self) -> Matrix:
        H = self._A.T @ self._A
        H[np.diag_indices(self.n)] += self._damping
        H = (H + H.T) / 2
        # In float64 AᵀA + λI may have lost λ: what is formed must be positive definite in spite of its rounding.
        require_positive_definite(H, self._damping, terms=len(self._A))
        return H

    @cached_property
    def _sample_cholesky(self) -> tuple[Matrix, bool]:
        """Cholesky factor of AAᵀ + λI, shape (m, m)."""
        kernel = self._A @ self._A.T
        kernel[np.diag_indices(len(kernel))] += self._damping
        return cho_factor(kernel, lower=True)


def resolve_damping(damping: float | None, dampening_frac: float | None, mean_diagonal: float) -> float:
    """The absolute λ from either way of saying it: ``damping``, or a fraction of the mean diagonal.

    Raises
    ------
    InputError
        When both or neither are given, or a value is negative or not finite.
    """
    if (damping is None) == (dampening_frac is None):
        raise InputError("damping: give exactly one of damping (absolute) and dampening_frac (of the mean diagonal)")
    if damping is not None:
        return as_nonnegative(damping, "damping")
    return as_nonnegative(dampening_frac, "dampening_frac") * mean_diagonal
