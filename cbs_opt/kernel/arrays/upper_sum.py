"""A sum rounded upwards: never below the exact one."""

from __future__ import annotations

import math

from cbs_opt.kernel.arrays.types import Vector


def sum_above(terms: Vector) -> float:
    """The smallest float64 that is not below the exact sum of ``terms`` ≥ 0; ∞ where float64 cannot hold it."""
    values = terms.tolist()
    try:
        nearest = math.fsum(values)
        # fsum rounds once, at the end, so that the sign of what is left is exact.
        exact = not math.isfinite(nearest) or math.fsum([*values, -nearest]) <= 0
    except OverflowError:
        return math.inf
    return nearest if exact else math.nextafter(nearest, math.inf)
