"""The best bound of each problem, the gaps to it, and broken bounds.

A bound that one method proved holds for the answers of all methods to the same problem (one block, one request). So
each answer is judged against the best bound of any method, gap = (objective − bound)/|objective|. A bound above the
objective of *any* method's answer is broken: the bound or the objective is wrong, and nothing that rests on them is
proven.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.result import BOUND_ROUND_OFF, GAP_TOLERANCE

Indices = NDArray[np.intp]


def best_bounds(problem: Indices, bound: Vector, problems: int) -> Vector:
    """The largest bound of each problem, shape (problems,); −inf where there is none.

    Parameters
    ----------
    problem : array of int, shape (k,)
        The problem that each answer belongs to.
    bound : array, shape (k,)
        The bound that came with it; −inf without a bound.
    """
    best = np.full(problems, -np.inf)
    np.maximum.at(best, problem, bound)
    return best


def broken(objective: Vector, best: Vector, round_off: Vector) -> Mask:
    """Whether the bound lies above the objective by more than float64 can explain; all of shape (k,).

    A NaN objective (no answer) breaks no bound.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return best - objective > BOUND_ROUND_OFF * np.abs(objective) + round_off


def gaps(objective: Vector, best: Vector, round_off: Vector) -> Vector:
    """(objective − bound)/|objective|, shape (k,): at least 0; inf without a bound, NaN without an answer or if broken.

    The same rule as ``cbs_opt.kernel.result.relative_gap``, for arrays.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        gap = (objective - best) / np.abs(objective)
    gap = np.where(objective == 0, np.where(-best <= round_off, 0.0, np.inf), gap)
    gap = np.where(objective <= best, 0.0, gap)
    gap = np.where(best == -np.inf, np.inf, gap)
    return np.where(np.isnan(objective) | broken(objective, best, round_off), np.nan, gap)


def proven(objective: Vector, best: Vector, round_off: Vector, gap: Vector) -> Mask:
    """Whether the gap is within the tolerance, and the objective itself known as precisely; shape (k,)."""
    known = (round_off <= GAP_TOLERANCE * np.abs(objective)) | (objective == best)
    return (gap <= GAP_TOLERANCE) & known
