"""H = I ⊗ H₁ for the output rows of a layer, which share the Gram matrix of the layer's inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.curvature.base import Curvature
from cbs_opt.kernel.curvature.dense import DenseCurvature


class RowsCurvature(Curvature):
    """H = I ⊗ H₁: several rows of d weights each, which do not interact and all have the dense curvature H₁.

    The n = rows·d weights are flattened row by row, as ``weight.flatten()`` of a tensor of shape (out, in) or
    (out, in, height, width) has them. H₁ is stored and factorized once.

    Parameters
    ----------
    H : DenseCurvature or array, shape (d, d)
        H₁, for instance XᵀX/m + λI of the layer's inputs X.
    rows : int
        The number of rows, at least 1.
    damping : float
        λ ≥ 0, added to the diagonal of H₁. Leave it out where ``H`` is a ``DenseCurvature``, which has its own.

    Raises
    ------
    InputError
        The number of rows is not a whole number ≥ 1, λ is given for a ``DenseCurvature``, or the array is none that
        ``DenseCurvature`` takes.
    NotPositiveDefiniteError
        H₁ + λI has no Cholesky factor with the margin that float64 needs.
    """

    kind = "rows"

    def __init__(self, H: Any, rows: int, damping: float = 0.0) -> None:
        if isinstance(H, DenseCurvature):
            if damping != 0:
                raise InputError(f"damping: is {damping}, but the given curvature has its own; leave it out here")
            self._row = H
        else:
            self._row = DenseCurvature(H, damping)
        whole = isinstance(rows, (int, np.integer)) and not isinstance(rows, bool)
        if not whole or rows < 1:
            raise InputError(f"rows: is {rows}; a whole number of rows, at least 1, is needed")
        self._rows = int(rows)

    @property
    def row(self) -> DenseCurvature:
        """The curvature of one row, of order d."""
        return self._row

    @property
    def H(self) -> Matrix:
        """H₁, shape (d, d), read-only."""
        return self._row.dense()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._rows

    @property
    def d(self) -> int:
        """Number of weights of one row."""
        return self._row.n

    @property
    def n(self) -> int:
        return self._rows * self._row.n

    @property
    def damping(self) -> float:
        return self._row.damping

    @property
    def mean_diagonal(self) -> float:
        return self._row.mean_diagonal

    @property
    def notes(self) -> tuple[str, ...]:
        return self._row.notes

    def arrays(self) -> dict[str, Any]:
        return {"H": self.H, "rows": self._rows}

    def matvec(self, v: Vector) -> Vector:
        return np.asarray(self._as_rows(v) @ self.H).ravel()

    def quadratic(self, v: Vector) -> float:
        V = self._as_rows(v)
        return float(np.einsum("ri,ri->", V @ self.H, V))

    def diagonal(self) -> Vector:
        return np.tile(self._row.diagonal(), self._rows)

    def inverse_diagonal(self) -> Vector:
        return np.tile(self._row.inverse_diagonal(), self._rows)

    def solve(self, v: Vector) -> Vector:
        return np.ascontiguousarray(self._row.solve(self._as_rows(v).T).T).ravel()

    def _form_dense(self) -> Matrix:
        return np.asarray(np.kron(np.eye(self._rows), self.H), dtype=np.float64)

    def below(self) -> Curvature:
        lower = self._row.below()
        return self if lower is self._row else RowsCurvature(lower, self._rows)

    def _as_rows(self, v: Vector) -> Matrix:
        return v.reshape(self._rows, self.d)
