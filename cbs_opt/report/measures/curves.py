"""Gap against time over many blocks: at each moment the quantiles of the gaps that the searches had reached."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.report.measures.quantiles import quantiles

POINTS = 100
"""How many moments a curve has, evenly spread over the logarithm of time."""

SHORTEST = 1e-4
"""The earliest start of a curve, in seconds."""


@dataclass(frozen=True, eq=False)
class GapCurve:
    """At ``seconds[i]`` half of the searches had a gap of ``median[i]`` or less, nine of ten of ``most[i]`` or less.

    A gap is inf if there was none yet. Of all ``searches``, ``reported`` told their progress, the others only their
    end.
    """

    seconds: Vector
    median: Vector
    most: Vector
    searches: int
    reported: int = 0


def own_gap(incumbent: NDArray[np.floating[Any]], bound: NDArray[np.floating[Any]]) -> Vector:
    """(incumbent − bound)/|incumbent| of what a search reported, ≥ 0; inf without an incumbent or a bound (NaN)."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        gap = (incumbent - bound) / np.abs(incumbent)
    gap = np.where(incumbent == bound, 0.0, gap)
    return np.where(np.isnan(gap), np.inf, np.maximum(gap, 0.0))


def moments(shortest: float, longest: float, points: int = POINTS) -> Vector:
    """Times from ``shortest`` to ``longest`` seconds, evenly spread over their logarithm."""
    start = max(SHORTEST, min(shortest, longest))
    times = np.geomspace(start, max(longest, 2.0 * start), points)
    times[-1] = max(longest, 2.0 * start)
    return times


def reached(times: Vector, seconds: Vector, gap: Vector) -> Vector:
    """The smallest gap a search had reached at each of ``times``; inf before its first report.

    Parameters
    ----------
    seconds, gap : arrays, shape (k,)
        When the search reported, and which gap; in any order.
    """
    order = np.argsort(seconds, kind="stable")
    best = np.minimum.accumulate(gap[order]) if len(order) else gap
    position = np.searchsorted(seconds[order], times, side="right") - 1
    return np.where(position >= 0, best[np.maximum(position, 0)], np.inf) if len(best) else np.full(len(times), np.inf)


def gap_curve(times: Vector, searches: Iterable[tuple[Vector, Vector]]) -> GapCurve:
    """The curve of several searches, each given as (seconds, gap), as ``reached`` takes them."""
    # float32: 10,000 searches take 4 MB; a picture does not show more digits.
    table = np.array([reached(times, seconds, gap) for seconds, gap in searches], dtype=np.float32)
    if table.size == 0:
        nothing = np.full(len(times), math.inf)
        return GapCurve(times, nothing, nothing, 0)
    both = np.array([quantiles(column, (0.5, 0.9)) for column in table.T])
    return GapCurve(times, both[:, 0], both[:, 1], len(table))
