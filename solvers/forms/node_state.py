"""The states of a weight and of a node of a tree, and how many weights may be kept: for searches and compiled loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.patterns import Labelled, Pattern
from cbs_opt.kernel.patterns.forced import forced

ROUNDING = 1e-4
"""The smooth min(1, s) is ζ(s) = ½(1 + s − √((1 − s)² + 4·ROUNDING)): 1 − √ROUNDING at s = 1, and positive for
s > ROUNDING."""

FREE, KEPT, PRUNED = 0, 1, 2
"""States of a weight at a node: not decided, kept, pruned."""

FATHOMED, LEAF, BRANCH = 0, 1, 2
"""What became of a node: its bound reached the cutoff, one mask is left, or it has to be branched on."""


def state_of(pattern: Pattern) -> NDArray[np.int8]:
    """The state of each weight, FREE, KEPT or PRUNED, as ``pattern`` decides it; shape (n,)."""
    return np.where(pattern.free, FREE, np.where(forced(pattern), KEPT, PRUNED)).astype(np.int8)


class Room(NamedTuple):
    """How many weights may be kept: at most ``room[l]`` of those with label l. Compiled loops take it as it is.

    Parameters
    ----------
    labels : int64 array (n,)
        The label of each weight, 0 … labels − 1. For a node these are its free weights, and only labels that occur.
    room : int64 array (labels,)
        Most weights of each label. For a node this counts free weights, with those already kept subtracted.
    """

    labels: NDArray[np.int64]
    room: NDArray[np.int64]

    @classmethod
    def of(cls, pattern: Labelled) -> Room:
        """The room of ``pattern``, in copies, since numba would compile its loops once more for read-only arrays."""
        return cls(np.array(pattern.labels, dtype=np.int64), np.array(pattern.room, dtype=np.int64))

    @classmethod
    def one(cls, n: int, budget: int) -> Room:
        """The room of a cardinality: at most ``budget`` of ``n`` weights."""
        return cls(np.zeros(n, dtype=np.int64), np.full(1, budget, dtype=np.int64))
