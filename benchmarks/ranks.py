"""Whether one figure puts things in the order of another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Spearman's ρ: 1 where both figures give the same order, −1 where they give opposite ones; nan if undefined.

    Pairs that are not both finite are left out; below three pairs, or where a figure is the same in all, it is
    undefined.
    """
    from scipy.stats import spearmanr

    pairs = _finite(left, right)
    if len(pairs) < 3 or any(np.ptp([pair[side] for pair in pairs]) == 0 for side in (0, 1)):
        return math.nan
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def same_order(left: Sequence[float], right: Sequence[float]) -> tuple[int, int]:
    """Of all twos that differ in both figures: (those that both put in the same order, all)."""
    agree = [
        (one[0] < other[0]) == (one[1] < other[1])
        for one, other in itertools.combinations(_finite(left, right), 2)
        if one[0] != other[0] and one[1] != other[1]
    ]
    return sum(agree), len(agree)


def _finite(left: Sequence[float], right: Sequence[float]) -> list[tuple[float, float]]:
    return [pair for pair in zip(left, right, strict=True) if all(map(math.isfinite, pair))]
