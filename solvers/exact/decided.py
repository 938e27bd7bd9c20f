"""What a pattern decides by itself, and what is left of it once some weights are decided."""

from __future__ import annotations

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.patterns import Pattern


def fixed(pattern: Pattern, keep: Mask, prune: Mask) -> Pattern | None:
    """The masks of ``pattern`` that keep and prune these weights (``Pattern.fixed``); None where no mask is left."""
    try:
        return pattern.fixed(keep, prune)
    except PatternError:
        return None


def deciding(pattern: Pattern, weight: int, keep: bool) -> Pattern | None:
    """The masks of ``pattern`` that keep ``weight``, or those that prune it; None where there is none."""
    this, nothing = np.arange(pattern.n) == weight, np.zeros(pattern.n, dtype=np.bool_)
    return fixed(pattern, this, nothing) if keep else fixed(pattern, nothing, this)


def settled(pattern: Pattern) -> Pattern:
    """The pattern with more weights decided, none of which rules out all optimal masks of the joint problem.

    Weights that every mask has room for are kept, since keeping more never raises the joint optimum, and weights that
    all masks keep, or all prune, are fixed.
    """
    free = pattern.free
    most = pattern.argmax(free.astype(np.float64))
    always = free & most if most[free].all() else np.zeros_like(free)
    if pattern.labelled is not None:
        left = pattern.labelled
        always = free & (left.count(free) <= left.room_of_free)[left.labels]
    if pattern.grouped is not None:
        groups = pattern.grouped
        always |= free & groups.forced[groups.units]
    alone = free & (pattern.flip_values(free.astype(np.float64), most) == -np.inf)
    keep, prune = always | alone & most, alone & ~most & ~always
    return pattern.fixed(keep, prune) if (keep | prune).any() else pattern
