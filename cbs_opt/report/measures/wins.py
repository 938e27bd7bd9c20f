"""Who has the best answer: the methods whose objective no other method's is below."""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.result import GAP_TOLERANCE
from cbs_opt.report.measures.bounds import Indices


def wins(problem: Indices, objective: Vector, round_off: Vector, problems: int) -> tuple[Mask, Mask]:
    """Which answers are best on their problem, and which are so alone; both of shape (k,).

    An answer is best when it is within the tolerance of the smallest objective: exact methods stop at a gap of
    that size, so that a smaller difference is not a better mask. NaN (no answer) never wins.

    Parameters
    ----------
    problem : array of int, shape (k,)
    objective, round_off : arrays, shape (k,)
        The answers' objectives, NaN without an answer, and what float64 may have got wrong in them.
    """
    smallest = np.full(problems, np.inf)
    np.fmin.at(smallest, problem, objective)
    least = smallest[problem]
    with np.errstate(invalid="ignore", over="ignore"):
        best = objective - least <= GAP_TOLERANCE * np.abs(objective) + round_off
    how_many = np.bincount(problem[best], minlength=problems)
    return best, best & (how_many[problem] == 1)
