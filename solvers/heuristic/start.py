"""Checks the mask that a search is told to start from, and fills it up to what the pattern allows."""

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
    """``start`` as a mask in Z that keeps the largest of its pruned weights as well, as many as Z has room for.

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
    # Under a budget the fullest mask may give up a weight of ``start``; then pruned weights are added one after the
    # other.
    units, pruned = problem.Z.units, np.flatnonzero(~mask & problem.Z.free)
    largest = dict.fromkeys(units[pruned[np.argsort(-size[pruned], kind="stable")]].tolist())
    return grown(problem.Z.contains, mask, (np.flatnonzero((units == unit) & problem.Z.free) for unit in largest))


def grown(contains: Callable[[Mask], bool], z: Mask, more: Iterable[Places]) -> Mask:
    """``z`` with each set of weights of ``more`` kept as well, in their order, where ``contains`` still allows it."""
    z = z.copy()
    for weights in more:
        before = z[weights]
        z[weights] = True
        if not contains(z):
            z[weights] = before
    return z
