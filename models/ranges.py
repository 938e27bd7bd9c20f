"""How far the columns and rows of a model can move: by weak duality, that times their error is what wrong multipliers
cost a solver's bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cbs_opt.errors import UnsupportedError
from cbs_opt.kernel.patterns import Pattern


def pattern_ranges(pattern: Pattern) -> float:
    """The sum of the ranges of all variables that a pattern adds to a model, and of all its rows.

    Raises
    ------
    UnsupportedError
        A variable that it adds has no bounds.
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
    """The sum of the ranges of all variables of a Pyomo model that are not fixed, and of all its constraints.

    The range of a constraint is that of its body, by interval arithmetic. The sum is inf where a variable or a body has
    no bounds.
    """
    from pyomo.contrib.fbbt.fbbt import compute_bounds_on_expr
    from pyomo.environ import Constraint, Var

    columns = [x.bounds for x in model.component_data_objects(Var, active=True) if not x.fixed]
    rows = [compute_bounds_on_expr(c.body) for c in model.component_data_objects(Constraint, active=True)]
    return math.fsum(math.inf if low is None or high is None else high - low for low, high in (*columns, *rows))
