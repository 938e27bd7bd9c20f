"""H = diag(d): weights that do not interact."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.errors import NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import Matrix, Vector, frozen, rounded_up
from cbs_opt.kernel.arrays.validate import as_array, as_nonnegative
from cbs_opt.kernel.curvature.base import Curvature
from cbs_opt.kernel.curvature.second_moment import two_sum


class DiagonalCurvature(Curvature):
    """H = diag(``diagonal``) + ``damping``·I.

    Parameters
    ----------
    diagonal : array, shape (n,)
        The diagonal without the damping; with it, every entry has to be above zero.
    damping : float
        λ ≥ 0, in the units of H.
    """

    kind = "diagonal"

    def __init__(self, diagonal: Any, damping: float = 0.0) -> None:
        self._damping = as_nonnegative(damping, "damping")
        entries, lost = two_sum(as_array(diagonal, "diagonal", 1), self._damping)
        i = int(np.argmin(entries))
        if entries[i] <= 0:
            needed = rounded_up(self._damping + float(-entries[i] + 1e-8 * np.abs(entries).mean()) or 1.0)
            raise NotPositiveDefiniteError(
                f"diagonal: entry {i} is {entries[i]:.6g} with the damping; give a damping of at least {needed:.3g}",
                needed,
            )
        self._diagonal = frozen(entries)
        self._lower = np.where(lost < 0.0, np.nextafter(entries, -np.inf), entries)

    @property
    def n(self) -> int:
        return len(self._diagonal)

    @property
    def damping(self) -> float:
        return self._damping

    def matvec(self, v: Vector) -> Vector:
        return self._diagonal * v

    def quadratic(self, v: Vector) -> float:
        return float((self._diagonal * v) @ v)

    def diagonal(self) -> Vector:
        return self._diagonal.copy()

    def inverse_diagonal(self) -> Vector:
        return 1.0 / self._diagonal

    def solve(self, v: Vector) -> Vector:
        return v / self._diagonal

    def below(self) -> Curvature:
        same = bool((self._lower == self._diagonal).all())
        return self if same else DiagonalCurvature(self._lower)

    def _form_dense(self) -> Matrix:
        return np.diag(self._diagonal)
