"""The base of patterns with limits on the mask, weights that are forced to stay, and weights that are forbidden to."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Self

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, frozen
from cbs_opt.kernel.patterns.base import Pattern


class Forcing(Pattern):
    """Z = {z : z meets the limits, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}; a subclass states the limits."""

    def _force(self, keep: Mask, forbid: Mask) -> None:
        check_apart(keep, forbid)
        self._keep, self._forbid = frozen(keep), frozen(forbid)
        self._free = frozen(~(keep | forbid))

    @abstractmethod
    def satisfies(self, z: Mask) -> bool:
        """Whether ``z``, shape (n,), meets the limits, given that it keeps ``keep`` and prunes ``forbid``."""

    @property
    def keep(self) -> Mask:
        """Weights forced to stay, shape (n,), read-only."""
        return self._keep

    @property
    def forbid(self) -> Mask:
        """Weights forced to zero, shape (n,), read-only."""
        return self._forbid

    @property
    def free(self) -> Mask:
        return self._free

    def contains(self, z: Mask) -> bool:
        meets = z.shape == (self.n,) and z[self._keep].all() and not z[self._forbid].any()
        return bool(meets) and self.satisfies(z)

    def fixed(self, keep: Mask, prune: Mask) -> Self:
        smaller = copy.copy(self)
        smaller._force(self._keep | keep, self._forbid | prune)
        return smaller

    def __str__(self) -> str:
        return self.limits_in_words() + forced_in_words(self._keep, self._forbid)


def check_apart(keep: Mask, forbid: Mask) -> None:
    """Raise ``PatternError`` where a weight is forced to stay and forbidden at once."""
    both = np.flatnonzero(keep & forbid)
    if both.size:
        raise PatternError(f"keep: weight {both[0]} is forced to stay and forbidden at once; drop it from one")


def forced_in_words(keep: Mask, forbid: Mask) -> str:
    """How many weights are forced to stay and how many forbidden, as an ending for a pattern in words."""
    words = f", {int(keep.sum())} forced to stay" if keep.any() else ""
    return words + (f", {int(forbid.sum())} forbidden" if forbid.any() else "")
