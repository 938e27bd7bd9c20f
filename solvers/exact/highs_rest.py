"""What a pattern leaves to the weights that nothing has decided yet, as a pattern of these alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns import Pattern

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel


class Rest(Pattern):
    """{z_F : z ∈ Z}, where Z decides all weights but those of F.

    Parameters
    ----------
    whole : Pattern
        Z, of n weights.
    chosen : integer array, shape (m,)
        F, ascending: all that Z leaves free, or more.
    """

    def __init__(self, whole: Pattern, chosen: NDArray[np.int64]) -> None:
        self._whole, self._chosen = whole, chosen

    def _spread(self, values: Vector) -> Vector:
        whole = np.zeros(self._whole.n)
        whole[self._chosen] = values
        return whole

    def _masks(self, z: Mask) -> Mask:
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

    def constrain(self, model: ConcreteModel) -> None:
        from pyomo.environ import Binary, Block, RangeSet, Reference, Set, Var

        n = self._whole.n
        model.whole = Block(doc="all weights, the decided ones fixed")
        model.whole.I = RangeSet(0, n - 1)
        model.whole.decided = Set(initialize=np.setdiff1d(np.arange(n), self._chosen).tolist())
        model.whole.fixed = Var(model.whole.decided, domain=Binary)
        entries = {i: model.whole.fixed[i] for i in model.whole.decided}
        entries |= {int(i): model.z[k] for k, i in enumerate(self._chosen)}
        model.whole.z = Reference({i: entries[i] for i in range(n)})
        self._whole.constrain(model.whole)

    def __str__(self) -> str:
        return str(self._whole)
