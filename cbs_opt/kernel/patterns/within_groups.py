"""Groups that are pruned whole, and quotas inside the groups that stay, as 2:4 inside the filters that are kept.

The oracle of the quotas finds the best score of each group if it stays, and the oracle of the groups which ones stay.
"""

from __future__ import annotations

import copy
from typing import Self

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns.base import Pattern, RelaxedMask
from cbs_opt.kernel.patterns.forcing import forced_in_words
from cbs_opt.kernel.patterns.grouped import Grouped
from cbs_opt.kernel.patterns.rows import Rows, together


class WithinGroups(Pattern):
    """Z = the masks that both ``outer`` and ``inner`` allow; made by ``intersect``.

    Parameters
    ----------
    outer : Grouped
        The limit on the groups.
    inner : Pattern
        The quotas, a ``Labelled`` or ``Nested`` pattern, no label of which has weights of two groups. Both patterns
        force and forbid the same weights.
    """

    def __init__(self, outer: Grouped, inner: Pattern) -> None:
        self.outer, self.inner = outer, inner
        self.exact_flips = outer.exact_flips

    @property
    def n(self) -> int:
        return self.outer.n

    @property
    def parts(self) -> tuple[Pattern, ...]:
        return (self.outer, *self.inner.parts)

    @property
    def keep(self) -> Mask:
        """Weights forced to stay, shape (n,), read-only."""
        return self.outer.keep

    @property
    def forbid(self) -> Mask:
        """Weights forced to zero, shape (n,), read-only."""
        return self.outer.forbid

    @property
    def free(self) -> Mask:
        return self.outer.free

    def contains(self, z: Mask) -> bool:
        return self.outer.contains(z) and self.inner.contains(z)

    def argmax(self, scores: Vector) -> Mask:
        inside = self.inner.argmax(scores)
        return inside & self.outer.choose(self.outer.sums(scores, inside))[self.outer.units]

    def most(self, scores: Vector) -> float:
        return self.outer.most_of(self.outer.sums_above(scores, self.inner.argmax(scores)))

    def relaxed(self, scores: Vector) -> RelaxedMask:
        inside, units = self.inner.argmax(scores), self.outer.units
        found = self.outer.relaxed_of(self.outer.sums_above(scores, inside))
        # The most that deciding a weight differently adds to the score of its own group.
        change = self.inner.flip_values(scores, inside) - float(scores[inside].sum()) * (1.0 - 1e-12)
        kept = found.kept[units] + np.where(inside, 0.0, np.minimum(change, 0.0))
        pruned = np.maximum(found.pruned[units], found.kept[units] + np.where(inside, np.minimum(change, 0.0), 0.0))
        return RelaxedMask(
            np.where(inside, found.z[units], 0.0),
            found.most,
            np.where(self.forbid, -np.inf, kept),
            np.where(self.keep, -np.inf, pruned),
        )

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        inside, units = self.inner.argmax(scores), self.outer.units
        sums = self.outer.sums(scores, inside)
        chosen = self.outer.choose(sums)
        others = self.outer.flips_of(sums, chosen)[units]
        # What deciding a weight differently adds to the score of its own group; no other group changes.
        change = self.inner.flip_values(scores, inside) - float(scores[inside].sum())
        here = float(scores[z].sum()) + change
        values = np.where(z, np.maximum(here, others), np.where(inside, others, others + change))
        values = np.where(~z & chosen[units], here, values)
        return np.where(self.free, values, -np.inf)

    def fixed(self, keep: Mask, prune: Mask) -> Self:
        smaller = copy.copy(self)
        smaller.outer, smaller.inner = self.outer.fixed(keep, prune), self.inner.fixed(keep, prune)
        return smaller

    def rows(self) -> Rows:
        return together([self.outer.rows(), self.inner.rows()])

    def limits_in_words(self) -> str:
        return " and ".join(part.limits_in_words() for part in self.parts)

    def __str__(self) -> str:
        return self.limits_in_words() + forced_in_words(self.keep, self.forbid)
