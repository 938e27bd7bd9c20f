"""Quantiles that work with infinite values: each is one of the values, never interpolated between two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def quantiles(values: NDArray[np.floating[Any]], shares: Sequence[float]) -> list[float]:
    """For each share, the smallest value that at least this share of the values does not exceed; NaN without values.

    The inverse of the empirical distribution function (definition 1 of Hyndman & Fan, The American Statistician 50,
    1996): unlike those that interpolate, it is defined where some values are infinite (a gap without a bound).

    Parameters
    ----------
    values : array, shape (k,)
        The values; they may be infinite, but not NaN.
    shares : sequence of float
        Shares in [0, 1]: 0 gives the smallest value, 0.5 the (lower) median, 1 the largest value.
    """
    if len(values) == 0:
        return [math.nan] * len(shares)
    ordered = np.sort(values)
    # The guard keeps 0.9 · 10 at the 9th value although it is 9.000000000000002 for some products.
    ranks = (max(1, math.ceil(share * len(ordered) * (1 - 1e-12))) for share in shares)
    return [float(ordered[rank - 1]) for rank in ranks]
