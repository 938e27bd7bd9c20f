"""Sums, quotients and products of bounds, rounded downwards: a bound may lose its last digit, never gain one.

A float64 operation rounds to the nearest number, which may lie above the exact result. What is proven stays proven
only where the last step, too, goes down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable


def sum_below(*terms: float) -> float:
    """The largest float64 that is not above the exact sum of ``terms``; −inf where one of them is, or it overflows."""
    if -math.inf in terms:
        return -math.inf
    nearest = total(terms, beyond=-math.inf)
    # fsum rounds once, at the end, so that the sign of what is left is exact.
    exact = not math.isfinite(nearest) or total((*terms, -nearest), beyond=-math.inf) >= 0
    return nearest if exact else math.nextafter(nearest, -math.inf)


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


def total(terms: Iterable[float], beyond: float) -> float:
    """The exact sum, rounded once to the nearest; ``beyond`` where float64 cannot hold it."""
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):  # too large, or ∞ − ∞
        return beyond
