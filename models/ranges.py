"""How far columns and rows of a model can move: what wrong multipliers of a solver cost there, by weak duality."""

from __future__ import annotations

import math
from typing import Any

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


def model_ranges(model: Any) -> float:
    """The range of each variable of a Pyomo model that is not fixed, and of each of its constraints, together.

    Of a constraint it is that of its body, by interval arithmetic; inf where a variable or a body has no bounds.
    """
    from pyomo.contrib.fbbt.fbbt import compute_bounds_on_expr
    from pyomo.environ import Constraint, Var

    columns = [x.bounds for x in model.component_data_objects(Var, active=True) if not x.fixed]
    rows = [compute_bounds_on_expr(c.body) for c in model.component_data_objects(Constraint, active=True)]
    return math.fsum(math.inf if low is None or high is None else high - low for low, high in (*columns, *rows))
