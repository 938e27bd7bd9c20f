"""The mask a search is told to start from: checked, and filled up to what the pattern allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.arrays.validate import as_mask
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.forms.unit_parts import Places


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
    size = np.abs(problem.w_bar)
    fullest = problem.Z.argmax(2.0 * mask + size / (float(size.max()) or 1.0))
    if not (mask & ~fullest).any():
        return fullest
    # Under a budget what is kept may have to go for more that is not: then one after the other.
    units, pruned = problem.Z.units, np.flatnonzero(~mask & problem.Z.free)
    largest = dict.fromkeys(units[pruned[np.argsort(-size[pruned], kind="stable")]].tolist())
    return grown(problem.Z.contains, mask, (np.flatnonzero((units == unit) & problem.Z.free) for unit in largest))


def grown(contains: Callable[[Mask], bool], z: Mask, more: Iterable[Places]) -> Mask:
    """``z`` with every one of the sets of weights ``more`` that it has room for, in their order."""
    z = z.copy()
    for weights in more:
        before = z[weights]
        z[weights] = True
        if not contains(z):
            z[weights] = before
    return z
