"""The mask a search is told to start from: checked, and filled up to what the pattern allows."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.arrays.validate import as_mask
from cbs_opt.kernel.problem import PruningProblem


def filled(problem: PruningProblem, start: Any) -> Mask:
    """A start mask in Z, with the largest of its pruned weights kept as well, as many as Z allows.

    Raises
    ------
    PatternError
        ``start`` is not in Z.
    """
    mask = as_mask(start, "start", problem.n)
    if not problem.Z.contains(mask):
        raise PatternError(f"start: is outside the pattern ({problem.Z}); give a mask that satisfies it")
    largest = float(np.abs(problem.w_bar).max()) or 1.0
    return problem.Z.argmax(2.0 * mask + np.abs(problem.w_bar) / largest)
