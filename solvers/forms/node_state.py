"""The states of a weight and of a node of a tree, and what may be kept, shared by searches and compiled loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.patterns import Labelled, Pattern
from cbs_opt.kernel.patterns.forced import forced

ROUNDING = 1e-4
"""ζ(s) = ½(1 + s − √((1 − s)² + 4·ROUNDING)): 1 − √ROUNDING at s = 1, positive from s = ROUNDING on."""

FREE, KEPT, PRUNED = 0, 1, 2

FATHOMED, LEAF, BRANCH = 0, 1, 2


def state_of(pattern: Pattern) -> NDArray[np.int8]:
    """FREE, KEPT or PRUNED: what ``pattern`` decides of each weight, shape (n,)."""
    return np.where(pattern.free, FREE, np.where(forced(pattern), KEPT, PRUNED)).astype(np.int8)


class Room(NamedTuple):
    """What may be kept: ``room[l]`` of the weights with label l at the most; compiled loops take it as it is.

    Parameters
    ----------
    labels : int64 array (n,)
        0 … labels − 1. For a node: of its free weights, and only labels that one of them carries.
    room : int64 array (labels,)
        For a node: of free weights, what is kept already taken off.
    """

    labels: NDArray[np.int64]
    room: NDArray[np.int64]

    @classmethod
    def of(cls, pattern: Labelled) -> Room:
        """That of ``pattern``, in arrays of its own: compiled code would be made anew for read-only ones."""
        return cls(np.array(pattern.labels, dtype=np.int64), np.array(pattern.room, dtype=np.int64))

    @classmethod
    def one(cls, n: int, budget: int) -> Room:
        """At most ``budget`` of ``n`` weights."""
        return cls(np.zeros(n, dtype=np.int64), np.full(1, budget, dtype=np.int64))
