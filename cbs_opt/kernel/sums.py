"""Sums, quotients and products of bounds, rounded downwards: a bound may lose its last digit, never gain one."""

from __future__ import annotations

import math
from collections.abc import Iterable

from cbs_opt.kernel.arrays.sums import sum_below


def scaled_below(value: float, unit: float) -> float:
    """``value`` · ``unit`` for a power of two ``unit`` > 0: exact, but rounded down where digits are lost near zero."""
    product = value * unit
    return product if product / unit <= value else math.nextafter(product, -math.inf)


def total_bound(bounds: Iterable[float], units: Iterable[float] | None = None) -> float:
    """A bound on the sum of separate problems, from below; −inf where one has none.

    Parameters
    ----------
    bounds : iterable of float
        One of each problem.
    units : iterable of float, optional
        Each > 0: what the bound of each problem is divided by before they are added (problems in different units).
    """
    if units is None:
        return sum_below(*bounds)
    quotients = (
        bound / unit if unit == 1.0 else math.nextafter(bound / unit, -math.inf)
        for bound, unit in zip(bounds, units, strict=True)
    )
    return sum_below(*quotients)
