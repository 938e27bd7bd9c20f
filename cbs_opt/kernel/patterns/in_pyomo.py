"""The rows of a pattern as constraints of a Pyomo model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.kernel.patterns.rows import Named, Rows

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel


def constrain(model: ConcreteModel, rows: Rows) -> None:
    """Add ``rows`` to a model (or block) with binaries ``model.z``, forced and forbidden weights fixed.

    Each ``Named`` family of rows becomes one component of that name, indexed from 0; a family of one row becomes a
    constraint without an index.
    """
    columns = [model.z[i] for i in range(rows.n)]
    at = rows.n
    for family in rows.variables:
        columns += _variables(model, family, rows, at)
        at += family.count
    row = 0
    for family in rows.constraints:
        _constraints(model, family, rows, row, columns)
        row += family.count
    decided = rows.low[: rows.n] == rows.high[: rows.n]
    for i in np.flatnonzero(decided).tolist():
        model.z[i].fix(int(rows.low[i]))


def _variables(model: ConcreteModel, family: Named, rows: Rows, at: int) -> list[Any]:
    """Add the variables of a family to the model and return them; the first is column ``at`` of the rows."""
    from pyomo.environ import Binary, Integers, RangeSet, Reals, Var

    low = [None if np.isinf(value) else value for value in rows.low[at : at + family.count].tolist()]
    high = [None if np.isinf(value) else value for value in rows.high[at : at + family.count].tolist()]

    def domain(_: Any, j: int) -> Any:
        whole = Binary if (low[j], high[j]) == (0, 1) else Integers
        return whole if rows.whole[at + j] else Reals

    var = Var(RangeSet(0, family.count - 1), domain=domain, bounds=lambda _, j: (low[j], high[j]), doc=family.doc)
    model.add_component(family.name, var)
    return [var[j] for j in range(family.count)]


def _constraints(model: ConcreteModel, family: Named, rows: Rows, first: int, columns: list[Any]) -> None:
    """Add the rows of a family, which begin at row ``first``, to the model."""
    from pyomo.environ import Constraint, RangeSet, quicksum

    start, index = rows.A.indptr.tolist(), rows.A.indices.tolist()
    data, limit = [_plain(value) for value in rows.A.data.tolist()], [_plain(value) for value in rows.b.tolist()]

    def rule(_: Any, j: int) -> Any:
        row = first + j
        entries = range(start[row], start[row + 1])
        terms = [columns[index[k]] if data[k] == 1 else data[k] * columns[index[k]] for k in entries if data[k] != 0]
        if not terms:
            return Constraint.Feasible if limit[row] >= 0 else Constraint.Infeasible
        return quicksum(terms) <= limit[row]

    if family.count == 1:
        model.add_component(family.name, Constraint(rule=lambda m: rule(m, 0), doc=family.doc))
    else:
        model.add_component(family.name, Constraint(RangeSet(0, family.count - 1), rule=rule, doc=family.doc))


def _plain(value: float) -> float | int:
    """``value``, as an int where it is whole, so that a model prints 1 and not 1.0."""
    return int(value) if value == int(value) else value
