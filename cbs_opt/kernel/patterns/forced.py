"""The weights that a pattern decides: those that it forces to stay, and those that it forbids."""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.patterns.base import Pattern


def forced(pattern: Pattern) -> Mask:
    """The weights that ``pattern`` forces to stay, as a mask of shape (n,)."""
    return np.asarray(~pattern.free & pattern.argmax(np.zeros(pattern.n)))


def forbidden(pattern: Pattern) -> Mask:
    """The weights that ``pattern`` forbids (forces to zero), as a mask of shape (n,)."""
    return np.asarray(~pattern.free & ~pattern.argmax(np.zeros(pattern.n)))
