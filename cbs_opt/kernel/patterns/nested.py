"""Quotas inside quotas: several levels of labels, each label inside one of the next level.

An example is 2:4 with a quota for each row and one for the whole layer. In the terms of matroids these are the
independent sets of a laminar matroid. The best mask is found level by level: it takes the best weights of every finest
label, of these the best of every label of the next level, and so on. A label is *full* where as many weights are kept
as it has room for. If a pruned weight is kept instead, the worst kept weight of the smallest full label around it is
pruned. If a kept weight is pruned, the best pruned weight whose smallest full label also contains the other is kept.
"""

from __future__ import annotations

import copy
from typing import Self

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns.base import Pattern
from cbs_opt.kernel.patterns.forcing import forced_in_words
from cbs_opt.kernel.patterns.labelled import Labelled
from cbs_opt.kernel.patterns.rows import Rows, together


class Nested(Pattern):
    """Z = the masks that all ``levels`` allow; made by ``intersect``.

    Parameters
    ----------
    levels : tuple of Labelled
        The patterns from the finest labels to the coarsest, each label inside one of the next level. All force and
        forbid the same weights.
    """

    exact_flips = True

    def __init__(self, levels: tuple[Labelled, ...]) -> None:
        self.levels = levels

    @property
    def n(self) -> int:
        return self.levels[0].n

    @property
    def parts(self) -> tuple[Pattern, ...]:
        return self.levels

    @property
    def keep(self) -> Mask:
        """Weights forced to stay, shape (n,), read-only."""
        return self.levels[0].keep

    @property
    def forbid(self) -> Mask:
        """Weights forced to zero, shape (n,), read-only."""
        return self.levels[0].forbid

    @property
    def free(self) -> Mask:
        return self.levels[0].free

    def contains(self, z: Mask) -> bool:
        return all(level.contains(z) for level in self.levels)

    def argmax(self, scores: Vector) -> Mask:
        z = self.levels[0].argmax(scores)
        for level in self.levels[1:]:
            z = level.largest(scores, z & self.free)
        return z

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        value, kept, pruned = float(scores[z].sum()), z & self.free, ~z & self.free
        worst, runner_up = np.zeros(self.n), np.zeros(self.n)
        bounded = np.zeros(self.n, dtype=np.bool_)
        for level in self.levels:
            labels, room = level.labels, level.room - level.count(self.keep)
            full = (level.count(kept) >= room)[labels]
            # The pruned weights whose smallest full label is of this level.
            new = pruned & full & ~bounded
            bounded |= full
            least, best = np.full(len(room), np.inf), np.zeros(len(room))
            np.minimum.at(least, labels[kept], scores[kept])
            np.maximum.at(best, labels[new], scores[new])
            worst[new] = least[labels[new]]
            runner_up = np.maximum(runner_up, best[labels])
        values = np.full(self.n, -np.inf)
        values[kept] = value - scores[kept] + runner_up[kept]
        values[pruned] = value + scores[pruned] - worst[pruned]
        return values

    def fixed(self, keep: Mask, prune: Mask) -> Self:
        smaller = copy.copy(self)
        smaller.levels = tuple(level.fixed(keep, prune) for level in self.levels)
        return smaller

    def rows(self) -> Rows:
        return together([level.rows() for level in self.levels])

    def limits_in_words(self) -> str:
        return " and ".join(level.limits_in_words() for level in self.levels)

    def __str__(self) -> str:
        return self.limits_in_words() + forced_in_words(self.keep, self.forbid)
