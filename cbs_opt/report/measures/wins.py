"""Finds the best answers: those whose objective no other method's objective is below."""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.result import GAP_TOLERANCE
from cbs_opt.report.measures.bounds import Indices


def wins(problem: Indices, objective: Vector, round_off: Vector, problems: int) -> tuple[Mask, Mask]:
    """Whether each answer is the best one to its problem, and whether it is the only best one; both of shape (k,).

    An answer is best if its objective is within the tolerance of the smallest one: exact methods stop at a gap of that
    size, so that a smaller difference does not mean a better mask. NaN (no answer) is never best.

    Parameters
    ----------
    problem : array of int, shape (k,)
        The problem that each answer belongs to.
    objective, round_off : arrays, shape (k,)
        The answers' objectives, NaN without an answer, and what float64 may have got wrong in them.
    problems : int
        How many problems there are.
    """
    smallest = np.full(problems, np.inf)
    np.fmin.at(smallest, problem, objective)
    least = smallest[problem]
    with np.errstate(invalid="ignore", over="ignore"):
        best = objective - least <= GAP_TOLERANCE * np.abs(objective) + round_off
    how_many = np.bincount(problem[best], minlength=problems)
    return best, best & (how_many[problem] == 1)
