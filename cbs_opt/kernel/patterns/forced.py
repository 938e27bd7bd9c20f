"""Weights that a pattern decides by itself."""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.patterns.base import Pattern


def forced(pattern: Pattern) -> Mask:
    """Weights that every mask of ``pattern`` keeps because they are decided, shape (n,)."""
    return np.asarray(~pattern.free & pattern.argmax(np.zeros(pattern.n)))


def forbidden(pattern: Pattern) -> Mask:
    """Weights that every mask of ``pattern`` prunes because they are decided, shape (n,)."""
    return np.asarray(~pattern.free & ~pattern.argmax(np.zeros(pattern.n)))
