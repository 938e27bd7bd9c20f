"""How far what a pattern adds to a model can move: what wrong multipliers of a solver cost there, by weak duality."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cbs_opt.errors import UnsupportedError

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel


def pattern_ranges(model: ConcreteModel) -> float:
    """The range of each variable of the pattern's own, and of each of its rows, together.

    Parameters
    ----------
    model : ConcreteModel
        As ``masked_model`` has left it: nothing but z and the pattern.

    Raises
    ------
    UnsupportedError
        A constraint of the pattern is not linear, or a variable in it has no bounds.
    """
    from pyomo.environ import Constraint, Var
    from pyomo.repn import generate_standard_repn

    own = {id(x): x for x in model.component_data_objects(Var)}
    for z in model.z.values():
        own.pop(id(z), None)
    total = sum(_range(x) for x in own.values())
    for row in model.component_data_objects(Constraint, active=True):
        linear = generate_standard_repn(row.body, compute_values=True)
        if not linear.is_linear():
            raise UnsupportedError(f"pattern: its constraint {row.name} is not linear; say it by linear constraints")
        terms = zip(linear.linear_coefs, linear.linear_vars, strict=True)
        total += sum(abs(a) * _range(x) for a, x in terms)
    return total


def _range(x: Any) -> float:
    """upper − lower; fixed variables do not move."""
    if x.fixed:
        return 0.0
    least, most = x.bounds
    if least is None or most is None or not math.isfinite(most - least):
        raise UnsupportedError(f"pattern: its variable {x.name} has no bounds; give it some, so that a bound is safe")
    return float(most - least)
