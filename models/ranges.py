"""How far what a pattern adds to a model can move: what wrong multipliers of a solver cost there, by weak duality."""

from __future__ import annotations

import numpy as np

from cbs_opt.errors import UnsupportedError
from cbs_opt.kernel.patterns import Pattern


def pattern_ranges(pattern: Pattern) -> float:
    """The range of each variable of the pattern's own, and of each of its rows, together.

    Raises
    ------
    UnsupportedError
        A variable of its own has no bounds.
    """
    rows = pattern.rows()
    width = rows.high - rows.low
    own = width[rows.n :]
    if not np.isfinite(own).all():
        raise UnsupportedError(
            f"pattern: a variable of its own has no bounds ({pattern}); give it some, so that a solver's bound is safe"
        )
    return float(own.sum() + (abs(rows.A) @ width).sum())
