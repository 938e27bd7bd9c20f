"""Sums rounded to a chosen side: never above the exact sum, or never below it, and next to it in float64.

A float64 operation rounds to the nearest number, which may lie on either side of the exact result. A bound stays proven
only where its last step is rounded to the safe side, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbs_opt.kernel.arrays.types import Vector


def sum_below(*terms: float) -> float:
    """The largest float64 that is not above the exact sum of ``terms``; −inf where a term is −inf, or on overflow."""
    if -math.inf in terms:
        return -math.inf
    nearest = total(terms, beyond=-math.inf)
    # fsum rounds once, at the end, so that the sign of what is left is exact.
    exact = not math.isfinite(nearest) or total((*terms, -nearest), beyond=-math.inf) >= 0
    return nearest if exact else math.nextafter(nearest, -math.inf)


def sum_above(terms: Vector) -> float:
    """The smallest float64 that is not below the exact sum of ``terms`` ≥ 0; ∞ where float64 cannot hold it."""
    return 0.0 - sum_below(*(-terms).tolist())  # 0.0 − x instead of −x, so that the sum of zeros is 0 and not −0


def total(terms: Iterable[float], beyond: float) -> float:
    """The exact sum, rounded once to the nearest; ``beyond`` where float64 cannot hold it."""
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):  # too large, or ∞ − ∞
        return beyond
