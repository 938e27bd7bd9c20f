"""Randomized magnitude: a mask that keeps the largest weights of random buckets, exactly as many as allowed.

The N free weights are shuffled and dealt into ⌊√N⌋ buckets (at most 1000) of nearly equal size. Each bucket keeps its
largest |w̄_i|, a number in proportion to its size, such that the numbers add up to the exact total. Yu, Serra,
Ramalingam & Zhe, ICML 2022. (The authors' code rounds the number up in every bucket and keeps too many weights.)

What is shuffled are the weights in the order of their magnitude, so that the order in which they are stored plays no
part.
"""

from __future__ import annotations

import math

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns import Labelled

MOST_BUCKETS = 1000
"""Buckets at the most."""


def randomized_magnitude(w_bar: Vector, pattern: Labelled, generator: np.random.Generator) -> Mask:
    """A random mask, shape (n,), of a ``pattern`` with one label, which keeps as many weights as the pattern allows."""
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
