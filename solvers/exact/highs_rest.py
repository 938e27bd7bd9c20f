"""What a pattern leaves to the weights that nothing has decided yet, as a pattern of these alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.rows import Rows


class Rest(Pattern):
    """{z_F : z ∈ Z}, where Z decides all weights but those of F.

    Parameters
    ----------
    whole : Pattern
        Z, of n weights.
    chosen : integer array, shape (m,)
        F, ascending: all weights that Z leaves free, and possibly more.
    """

    def __init__(self, whole: Pattern, chosen: NDArray[np.int64]) -> None:
        self._whole, self._chosen = whole, chosen

    def _spread(self, values: Vector) -> Vector:
        """``values`` (m,) on the weights of F, 0 on all others; shape (n,)."""
        whole = np.zeros(self._whole.n)
        whole[self._chosen] = values
        return whole

    def _masks(self, z: Mask) -> Mask:
        """The mask of all n weights that is ``z`` on F and what Z decides elsewhere."""
        whole = self._whole.argmax(np.zeros(self._whole.n))
        whole[self._chosen] = z
        return whole

    @property
    def n(self) -> int:
        return len(self._chosen)

    @property
    def free(self) -> Mask:
        return self._whole.free[self._chosen]

    def contains(self, z: Mask) -> bool:
        return self._whole.contains(self._masks(z))

    def argmax(self, scores: Vector) -> Mask:
        return self._whole.argmax(self._spread(scores))[self._chosen]

    def most(self, scores: Vector) -> float:
        return self._whole.most(self._spread(scores))

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        return self._whole.flip_values(self._spread(scores), self._masks(z))[self._chosen]

    def fixed(self, keep: Mask, prune: Mask) -> Rest:
        spread = (self._spread(part.astype(np.float64)) > 0.0 for part in (keep, prune))
        return Rest(self._whole.fixed(*spread), self._chosen)

    def rows(self) -> Rows:
        whole = self._whole.rows()
        decided = np.setdiff1d(np.arange(whole.n), self._chosen)
        left = np.concatenate([self._chosen, np.arange(whole.n, len(whole.low))])
        return Rows(
            whole.A[:, left],
            whole.b - whole.A[:, decided] @ whole.low[decided],
            whole.low[left],
            whole.high[left],
            whole.whole[left],
            whole.constraints,
            whole.variables,
        )

    def __str__(self) -> str:
        return str(self._whole)
