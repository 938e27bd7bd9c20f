"""Gap against block size, with blocks of a size put together, so that the picture does not grow with their number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.report.measures.bounds import Indices
from cbs_opt.report.measures.quantiles import quantiles

MOST_SIZES = 16
"""Up to so many different sizes, each size has a bin of its own; beyond that, sizes share bins."""


@dataclass(frozen=True)
class SizeBin:
    """The blocks of ``smallest`` to ``largest`` weights: how many they are, and quantiles of their gaps.

    ``low``, ``median`` and ``high`` are the 10 %, 50 % and 90 % quantiles; a gap is inf without a bound.
    """

    smallest: int
    largest: int
    blocks: int
    low: float
    median: float
    high: float
    worst: float
    worst_at: int
    """The position of the worst block among those given."""


def size_edges(sizes: Indices) -> list[tuple[int, int]]:
    """The (smallest, largest) size of each bin: single sizes, or, if there are many, equal steps of their logarithm.

    All methods use one such list, so that their bins are the same.
    """
    different = np.unique(sizes)
    if len(different) <= MOST_SIZES:
        return [(int(n), int(n)) for n in different]
    cuts = np.geomspace(different[0], different[-1], MOST_SIZES + 1)
    places = np.clip(np.searchsorted(cuts, different, side="right") - 1, 0, MOST_SIZES - 1)
    groups = [different[places == place] for place in range(MOST_SIZES)]
    return [(int(group[0]), int(group[-1])) for group in groups if len(group)]


def by_size(sizes: Indices, gap: Vector, edges: list[tuple[int, int]]) -> list[SizeBin]:
    """The bins that have blocks; ``gap`` and ``sizes`` have shape (k,), and no gap is NaN."""
    bins = []
    for smallest, largest in edges:
        inside = np.flatnonzero((sizes >= smallest) & (sizes <= largest))
        if len(inside):
            low, median, high = quantiles(gap[inside], (0.1, 0.5, 0.9))
            worst = int(inside[np.argmax(gap[inside])])
            bins.append(SizeBin(smallest, largest, len(inside), low, median, high, float(gap[worst]), worst))
    return bins
