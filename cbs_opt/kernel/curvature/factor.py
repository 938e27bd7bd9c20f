"""H = AᵀA + λI, stored as a factor A of few rows; H itself is formed only on request."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector, frozen
from cbs_opt.kernel.arrays.validate import as_array, as_nonnegative
from cbs_opt.kernel.curvature.base import Curvature
from cbs_opt.kernel.curvature.dense import DenseCurvature, lowered, require_positive_definite
from cbs_opt.kernel.curvature.second_moment import second_moment

CHUNK_ENTRIES = 2**20
"""Entries of a float32 factor, or of a gathered part of any factor, that are held in float64 at a time: 8 MiB, since
larger pieces of memory would be requested from the system each time."""

REFINEMENTS = 5
"""Most refinements of a linear solve; one or two are enough unless λ is very small."""


class FactorCurvature(Curvature):
    """H = AᵀA + λI, for instance the empirical Fisher matrix with A = G/√m for the m per-sample gradients G.

    Parameters
    ----------
    A : array, shape (m, n)
        One sample a row, already divided by √m. A float32 array is stored as float32, at half the memory: its entries
        are then the exact data of the problem, and everything is evaluated in float64, some columns at a time, without
        a float64 copy of the whole. Any other array is stored as float64.
    damping : float
        λ > 0, in the units of H; with fewer rows than columns AᵀA alone is singular.

    Raises
    ------
    InputError
        A has a wrong shape or holds a NaN or an infinity, or λ is not above zero.
    """

    kind = "factor"
    obtained = (
        "PruningProblem.from_gradients keeps a factor where there are more weights than samples, cbs_opt.prune with "
        "curvature fisher"
    )

    def __init__(self, A: Any, damping: float) -> None:
        self._A = frozen(_single(A) if getattr(A, "dtype", None) == np.float32 else as_array(A, "A", 2))
        self._damping = as_nonnegative(damping, "damping")
        if self._damping == 0:
            raise InputError("damping: is 0; a factored curvature AᵀA + λI needs λ > 0")
        self._entry_error = 0.0

    @classmethod
    def of_samples(cls, G: Matrix, damping: float) -> FactorCurvature:
        """The curvature H = GᵀG/m + λI of m samples, with A = G/√m; ``slack`` accounts for the rounding of A.

        Parameters
        ----------
        G : array, shape (m, n)
            One sample a row.
        damping : float
            λ > 0, in the units of H.
        """
        root = np.sqrt(len(G))
        made = cls(G / root, damping)
        if root != 2.0 ** np.round(np.log2(root)):
            made._entry_error = 1.01 * EPS  # for the rounding of the root and of the division
        return made

    @property
    def slack(self) -> Vector:
        """e ≥ 0, shape (n,), with −diag(e) ⪯ H − (AᵀA + λI) ⪯ diag(e) for the exact H of the samples.

        It is zero where A itself was given. Where the entries of A have a relative error of up to δ, the difference E
        has |E_ij| ≤ (2δ + δ²)‖A_i‖‖A_j‖, of which (slack) in ``second_moment`` makes e, with x = 1 or x_i = H_ii^(−½).
        """
        if self._entry_error == 0.0:
            return np.zeros(self.n)
        size, scale = np.sqrt(self.column_squares), np.sqrt(self.diagonal())
        even, scaled = size * size.sum(), size * scale * (size / scale).sum()
        smaller = even if even.max() < scaled.max() else scaled
        return np.asarray(2.1 * self._entry_error * smaller)

    @property
    def A(self) -> Matrix:
        """The factor A in float64, shape (m, n), read-only; a copy where it is stored in float32."""
        return frozen(self._A.astype(np.float64, copy=False))

    @property
    def stored(self) -> NDArray[Any]:
        """The factor A as it is stored, in float64 or float32, shape (m, n), read-only."""
        return self._A

    @property
    def m(self) -> int:
        """Number of rows of the factor (samples)."""
        return len(self._A)

    @property
    def n(self) -> int:
        return self._A.shape[1]

    @property
    def damping(self) -> float:
        return self._damping

    @property
    def mean_diagonal(self) -> float:
        return float(self.column_squares.mean())

    def image(self, v: Vector) -> Vector:
        """A v in float64, shape (m,) or (m, c), for ``v`` of shape (n,) or (n, c)."""
        if self._A.dtype == np.float64:
            return self._A @ v
        total = np.zeros((self.m, *v.shape[1:]))
        for part, columns in self._chunks():
            total += columns @ v[part]
        return total

    def back(self, u: Vector) -> Vector:
        """Aᵀu in float64, shape (n,), for ``u`` of shape (m,)."""
        if self._A.dtype == np.float64:
            return self._A.T @ u
        return np.concatenate([columns.T @ u for _, columns in self._chunks()])

    def columns(self, chosen: NDArray[np.intp]) -> Matrix:
        """The columns of A with these indices in float64, shape (m, len(chosen)); a copy."""
        return self._A[:, chosen].astype(np.float64, copy=False)

    def sample_gram(self, chosen: NDArray[np.intp]) -> Matrix:
        """A_S A_Sᵀ in float64, shape (m, m), for the columns S = ``chosen``."""
        gram = np.zeros((self.m, self.m))
        step = max(1, CHUNK_ENTRIES // self.m)
        for start in range(0, len(chosen), step):
            part = self.columns(chosen[start : start + step])
            gram += part @ part.T
        return gram

    @cached_property
    def column_squares(self) -> Vector:
        """‖A_i‖² of every column, shape (n,), read-only."""
        squares = [np.einsum("ij,ij->j", columns, columns) for _, columns in self._chunks()]
        return frozen(np.concatenate(squares))

    def arrays(self) -> dict[str, Any]:
        return {"G": self.A * np.sqrt(self.m), "damping": self._damping}

    def matvec(self, v: Vector) -> Vector:
        return self.back(self.image(v)) + self._damping * v

    def quadratic(self, v: Vector) -> float:
        image = self.image(v)
        return float(image @ image + self._damping * (v @ v))

    def diagonal(self) -> Vector:
        return self.column_squares + self._damping

    def inverse_diagonal(self) -> Vector:
        # H⁻¹ = (I − Aᵀ(AAᵀ + λI)⁻¹A)/λ; with LLᵀ = AAᵀ + λI the diagonal is (1 − ‖L⁻¹A e_i‖²)/λ.
        if self.n <= self.m:
            return np.diag(np.linalg.inv(self._form_dense())).copy()
        lower = self._sample_cholesky[0]
        squares = np.empty(self.n)
        for part, columns in self._chunks():
            half = solve_triangular(lower, columns, lower=True, check_finite=False)
            squares[part] = np.einsum("ij,ij->j", half, half)
        # (H⁻¹)_ii ≥ 1/H_ii always; the difference falls below it only where λ is lost in its own round-off.
        return np.maximum((1.0 - squares) / self._damping, 1.0 / self.diagonal())

    def solve(self, v: Vector) -> Vector:
        # One solve loses about log10(‖A‖²/λ) digits. Bounds with a first-order term rely on H x = v up to round-off,
        # which refinement restores (R. D. Skeel, Mathematics of Computation 35, 1980).
        x = self._rough_solve(v)
        rest = v - self.matvec(x)
        for _ in range(REFINEMENTS):
            better = x + self._rough_solve(rest)
            left = v - self.matvec(better)
            if not np.linalg.norm(left) < 0.5 * np.linalg.norm(rest):
                break
            x, rest = better, left
        return x

    def _rough_solve(self, v: Vector) -> Vector:
        """H⁻¹v = (v − Aᵀ(AAᵀ + λI)⁻¹Av)/λ, without refinement."""
        inner = cho_solve(self._sample_cholesky, self.image(v))
        return (v - self.back(inner)) / self._damping

    def below(self) -> DenseCurvature:
        self._require_formable()
        H, slack = second_moment(self._A, self._damping)
        return lowered(H, slack + self.slack, self._damping)

    def _form_dense(self) -> Matrix:
        H, _ = second_moment(self._A, self._damping)
        # λ may be lost in the rounding of AᵀA + λI: the matrix that is formed has to be positive definite all the same.
        require_positive_definite(H, self._damping)
        return H

    def _chunks(self) -> Iterator[tuple[slice, Matrix]]:
        """All columns in float64, some at a time, each part with the slice of its indices."""
        step = max(1, CHUNK_ENTRIES // self.m)
        for start in range(0, self.n, step):
            part = slice(start, min(start + step, self.n))
            yield part, self._A[:, part].astype(np.float64, copy=False)

    @cached_property
    def _sample_cholesky(self) -> tuple[Matrix, bool]:
        """Cholesky factor of AAᵀ + λI, shape (m, m)."""
        double = self._A.dtype == np.float64
        kernel = self._A @ self._A.T if double else self.sample_gram(np.arange(self.n))
        kernel[np.diag_indices(len(kernel))] += self._damping
        return cho_factor(kernel, lower=True)


def _single(A: Any) -> NDArray[Any]:
    """A as a contiguous float32 array, checked as ``as_array`` checks it."""
    array = np.ascontiguousarray(A)
    if array.ndim != 2 or array.size == 0:
        as_array(array, "A", 2)  # says what is wrong
    for row in range(len(array)):
        as_array(array[row], f"A, row {row}", 1)
    return array
