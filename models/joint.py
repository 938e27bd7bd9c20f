"""What the joint formulations share: a mask, and weights in the box of an incumbent that are zero where pruned."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import masked_model
from cbs_opt.models.box import Box, default_incumbent, incumbent_box, total_loss


def chosen_incumbent(problem: PruningProblem, incumbent: float | None, block: Any) -> float:
    """U, the objective that the box of a joint model is made of: ``incumbent``, or a value that is attained.

    Where none is given, a model by itself takes ``default_incumbent``. On a ``block`` the constraints of the larger
    model may forbid the mask behind that, so that ``total_loss`` is taken, the loss of pruning everything.
    """
    if incumbent is not None:
        return float(incumbent)
    return default_incumbent(problem) if block is None else total_loss(problem)


def joint_model(problem: PruningProblem, formulation: str, incumbent: float, block: Any) -> tuple[Any, Box]:
    """A ``masked_model`` with the weights w added, and the incumbent box that bounds them.

    Raises
    ------
    InputError
        The incumbent lies below the unconstrained minimum.
    """
    from pyomo.environ import Reals, Var

    box = incumbent_box(problem, incumbent)
    low, high = (bound.tolist() for bound in box.with_zero)
    model = masked_model(problem, formulation, block)
    model.w = Var(model.I, domain=Reals, bounds=lambda _, i: (low[i], high[i]), doc="weights after pruning")
    return model, box


def zero_where_pruned(model: Any, box: Box) -> None:
    """Add (upper) and (lower): a pruned weight is zero, a kept one lies in its box enlarged to hold zero."""
    from pyomo.environ import Constraint

    low, high = (bound.tolist() for bound in box.with_zero)
    model.upper = Constraint(
        model.I,
        rule=lambda m, i: m.w[i] - high[i] * m.z[i] <= 0,
        doc="a pruned weight is zero, a kept one at most its upper bound",
    )
    model.lower = Constraint(
        model.I,
        rule=lambda m, i: m.w[i] - low[i] * m.z[i] >= 0,
        doc="a pruned weight is zero, a kept one at least its lower bound",
    )


def keep_indispensable(model: Any, problem: PruningProblem, box: Box) -> None:
    """Add (must_keep): z_i = 1 for the weights that the pattern leaves free and whose box excludes zero."""
    from pyomo.environ import Constraint, Set

    open_ = np.ones(problem.n, dtype=np.bool_) if problem.pattern is None else problem.pattern.free
    model.indispensable = Set(
        initialize=np.flatnonzero(box.excludes_zero & open_).tolist(), doc="weights whose box excludes zero"
    )
    model.must_keep = Constraint(
        model.indispensable, rule=lambda m, i: m.z[i] >= 1, doc="pruning it alone costs more than the incumbent"
    )
