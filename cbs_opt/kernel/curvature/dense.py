"""A curvature that is stored as a full matrix H."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, eigvalsh, lapack

from cbs_opt.errors import InputError, NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector, frozen, rounded_up
from cbs_opt.kernel.arrays.validate import as_array, as_nonnegative
from cbs_opt.kernel.curvature.base import Curvature
from cbs_opt.kernel.curvature.second_moment import scales, slack, two_sum

ASYMMETRY_TOLERANCE = 1e-8
"""Largest |H_ij − H_ji| / √(H_ii H_jj) that counts as round-off: it is averaged away, with a note."""


class DenseCurvature(Curvature):
    """H = ``H`` + ``damping``·I, stored in full.

    Parameters
    ----------
    H : array, shape (n, n)
        A symmetric matrix, as the Hessian, a Gauss-Newton matrix or a Gram matrix XᵀX/m.
    damping : float
        λ ≥ 0, added to the diagonal, in the units of H.

    Raises
    ------
    InputError
        H has a wrong shape, holds a NaN or an infinity, or is not symmetric; the message names the entry.
    NotPositiveDefiniteError
        H + λI has no Cholesky factor with the margin that float64 needs; the message names a λ that suffices.
    """

    kind = "dense"

    def __init__(self, H: Any, damping: float = 0.0) -> None:
        matrix = as_array(H, "H", 2)
        if matrix.shape[0] != matrix.shape[1]:
            raise InputError(f"H: has shape {matrix.shape}; a square matrix is needed")
        self._damping = as_nonnegative(damping, "damping")
        matrix, error, self._notes = _symmetric(matrix)
        if self._damping > 0:
            matrix, at = matrix.copy(), np.diag_indices(len(matrix))
            matrix[at], error[at] = two_sum(matrix[at], self._damping)
        require_positive_definite(matrix, self._damping)
        self._H = frozen(matrix)
        self._slack = slack(np.abs(error), scales(matrix))

    @classmethod
    def formed(cls, H: Matrix, slack: Vector, damping: float, notes: tuple[str, ...] = ()) -> DenseCurvature:
        """A curvature from a matrix H that was rounded when it was formed, with a bound on what rounding did.

        Parameters
        ----------
        H : array, shape (n, n)
            The matrix as it was formed, exactly symmetric, λ included.
        slack : array, shape (n,)
            e ≥ 0 with −diag(e) ⪯ H' − H ⪯ diag(e) for the matrix H' that exact arithmetic would have given.
        damping : float
            The λ in H.
        notes : tuple of str
            What was altered, one sentence each.

        Raises
        ------
        NotPositiveDefiniteError
            H has no Cholesky factor with the margin that float64 needs.
        """
        require_positive_definite(H, damping)
        made = cls.__new__(cls)
        made._H, made._slack, made._damping, made._notes = frozen(H), slack, damping, notes
        return made

    @property
    def n(self) -> int:
        return len(self._H)

    @property
    def damping(self) -> float:
        return self._damping

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    def matvec(self, v: Vector) -> Vector:
        return self._H @ v

    def quadratic(self, v: Vector) -> float:
        return float(v @ (self._H @ v))

    def diagonal(self) -> Vector:
        return self._H.diagonal().copy()

    def inverse_diagonal(self) -> Vector:
        inverse, info = lapack.dpotri(self._cholesky[0], lower=1)
        assert info == 0, "the Cholesky factor of a positive definite matrix is regular"
        return inverse.diagonal().copy()

    def solve(self, v: Vector) -> Vector:
        return cho_solve(self._cholesky, v)

    def _form_dense(self) -> Matrix:
        return self._H

    def below(self) -> DenseCurvature:
        if not self._slack.any():
            return self
        return lowered(self._H, self._slack, self._damping, self._notes)

    @cached_property
    def _cholesky(self) -> tuple[Matrix, bool]:
        return cho_factor(self._H, lower=True)


def lowered(H: Matrix, slack: Vector, damping: float, notes: tuple[str, ...] = ()) -> DenseCurvature:
    """The curvature H − diag(``slack``), rounded down, below the matrix H' that exact arithmetic would have given.

    Parameters
    ----------
    H : array, shape (n, n)
        The matrix as it was formed, λ included.
    slack : array, shape (n,)
        e ≥ 0 with H' − H ⪰ −diag(e), as in ``DenseCurvature.formed``.
    damping : float
        The λ in H.
    notes : tuple of str
        What was altered, one sentence each.

    Raises
    ------
    NotPositiveDefiniteError
        As ``DenseCurvature.formed``.
    """
    low, at = H.copy(), np.diag_indices(len(H))
    low[at] = np.where(slack > 0.0, np.nextafter(low[at] - slack, -np.inf), low[at])
    return DenseCurvature.formed(low, np.zeros(len(H)), damping, notes)


def _symmetric(matrix: Matrix) -> tuple[Matrix, Matrix, tuple[str, ...]]:
    """The symmetric part of ``matrix``, what rounding took off it, and a note unless the matrix was symmetric."""
    difference = np.abs(matrix - matrix.T)
    if not difference.any():
        return matrix, np.zeros_like(matrix), ()
    scale = np.sqrt(np.abs(matrix.diagonal()))
    allowed = ASYMMETRY_TOLERANCE * np.outer(scale, scale)
    i, j = np.unravel_index(int(np.argmax(difference - allowed)), matrix.shape)
    if difference[i, j] > allowed[i, j]:
        raise InputError(
            f"H: not symmetric, H[{i},{j}] = {matrix[i, j]:.6g} but H[{j},{i}] = {matrix[j, i]:.6g}; "
            "give (H + Hᵀ)/2 if that is what is meant"
        )
    note = f"H symmetrised: entries differed by at most {difference.max():.3g}"
    total, lost = two_sum(matrix, matrix.T)
    return total / 2, lost / 2, (note,)


def require_positive_definite(matrix: Matrix, damping: float) -> None:
    """Raise an error unless a Cholesky factorization in float64 proves ``matrix`` positive definite.

    The matrix is scaled to unit diagonal. A factorization that succeeds on A − cI, with c a small multiple of n·eps,
    proves such an A positive definite in spite of rounding (S. M. Rump, Verification of positive definiteness, BIT
    Numerical Mathematics 46, 2006).

    Parameters
    ----------
    matrix : array, shape (n, n)
        Exactly symmetric.
    damping : float
        The damping that the diagonal already contains; the one that the error names includes it.

    Raises
    ------
    NotPositiveDefiniteError
        No such proof was found.
    """
    n = len(matrix)
    units = n + 1
    diagonal = matrix.diagonal()
    i = int(np.argmin(diagonal))
    if diagonal[i] > 0:
        scale = 1.0 / np.sqrt(diagonal)
        scaled = matrix * scale * scale[:, None]
        scaled[np.diag_indices(n)] = 1.0 - 2.0 * units * EPS
        try:
            cholesky(scaled, lower=True, overwrite_a=True, check_finite=False)
            return
        except LinAlgError:
            pass
    smallest = float(eigvalsh(matrix, subset_by_index=[0, 0])[0])
    largest = float(np.abs(matrix).sum(axis=1).max())
    needed = max(-smallest, 0.0) + max(1e-8 * float(np.abs(diagonal).mean()), 8.0 * units * EPS * largest)
    needed = rounded_up(damping + needed) if needed > 0 else 1.0
    what = f"H[{i},{i}] = {diagonal[i]:.6g}" if diagonal[i] <= 0 else f"its smallest eigenvalue is {smallest:.3g}"
    with_damping = f" with the damping {damping:.6g}" if damping > 0 else ""
    raise NotPositiveDefiniteError(
        f"H: not positive definite{with_damping}, {what}; give H + λI with a damping λ of at least {needed:.3g}", needed
    )
