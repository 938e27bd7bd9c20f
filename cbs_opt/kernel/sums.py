"""Sums, quotients and products of lower bounds, rounded downwards, so that rounding never raises a bound."""

from __future__ import annotations

import math
from collections.abc import Iterable

from cbs_opt.kernel.arrays.sums import sum_below


def scaled_below(value: float, unit: float) -> float:
    """``value`` · ``unit`` for a power of two ``unit`` > 0: exact, or rounded down where it underflows."""
    product = value * unit
    return product if product / unit <= value else math.nextafter(product, -math.inf)


def total_bound(bounds: Iterable[float], units: Iterable[float] | None = None) -> float:
    """A lower bound on the sum of the optima of separate problems; −inf where one of them has no bound.

    Parameters
    ----------
    bounds : iterable of float
        A lower bound on the optimum of each problem.
    units : iterable of float, optional
        The unit > 0 of each problem, by which its bound is divided before the sum; all 1 by default.
    """
    if units is None:
        return sum_below(*bounds)
    quotients = (
        bound / unit if unit == 1.0 else math.nextafter(bound / unit, -math.inf)
        for bound, unit in zip(bounds, units, strict=True)
    )
    return sum_below(*quotients)
