"""Randomized magnitude initialization: the largest weights of random buckets, exactly as many as allowed.

The N free weights are shuffled and dealt into ⌊√N⌋ buckets (at most 1000) of nearly equal size; of each bucket the
largest |w̄_i| are kept, in proportion to its size, with quotas that add up to the exact number. Yu, Serra,
Ramalingam & Zhe, ICML 2022 (the authors' code rounds the quota up in every bucket and keeps too many weights).

The shuffle deals out ranks by magnitude, not indices, so that the order in which the weights are stored has no say.
"""

from __future__ import annotations

import math

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns import Labelled

MOST_BUCKETS = 1000


def randomized_magnitude(w_bar: Vector, pattern: Labelled, generator: np.random.Generator) -> Mask:
    """A mask of ``pattern``, which has one label, shape (n,), that keeps as many weights as it allows."""
    free = np.flatnonzero(pattern.free)
    magnitude = np.abs(w_bar)
    by_rank = free[np.argsort(-magnitude[free], kind="stable")]
    shuffled = generator.permutation(by_rank)
    N = len(free)
    count = max(1, min(math.isqrt(N), MOST_BUCKETS))
    borders = np.arange(count + 1) * N // count
    quotas = np.diff(int(pattern.room_of_free[0]) * borders // max(N, 1))
    bucket = np.repeat(np.arange(count), np.diff(borders))
    within = np.lexsort((-magnitude[shuffled], bucket))  # bucket after bucket, the largest first in each
    place = np.arange(N) - borders[bucket]
    z = pattern.keep.copy()
    z[shuffled[within[place < quotas[bucket]]]] = True
    return z
