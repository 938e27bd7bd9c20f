"""Joint pruning (CBS), mask and weights together, with big-M bounds from an incumbent.

Sets
    I = {0, …, n − 1}                   weights
Variables
    z_i ∈ {0, 1}                        1 keeps weight i, 0 prunes it
    w_i ∈ R                             weight i after pruning
Data
    H, b = Hw̄ − g, c = f(0)             the quadratic model f
    [l_i, u_i]                          the incumbent box (``cbs_opt.models.box``): w_i of every w with f(w) ≤ U
Objective
    min  c − bᵀw + ½ wᵀHw
Constraints
    (cardinality)  z ∈ Z                                     the pattern
    (upper)        w_i ≤ max(u_i, 0) z_i          i ∈ I      a pruned weight is zero, a kept one in its box
    (lower)        w_i ≥ min(l_i, 0) z_i          i ∈ I
    (must_keep)    z_i ≥ 1                        i: 0 ∉ [l_i, u_i]    pruning it alone costs more than U

The box is that of the ellipsoid of all w no worse than the incumbent: valid and, coordinate by coordinate,
as tight as U allows. (lower), (upper) and (must_keep) cut off no optimal solution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import expanded, half_square, inner, masked_model
from cbs_opt.models.box import incumbent_box
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.mask import read_mask

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel


def build(problem: PruningProblem, *, incumbent: float | None = None) -> ConcreteModel:
    """The model of ``problem``, whose pattern must be set.

    Parameters
    ----------
    incumbent : float, optional
        U, the objective of a feasible w; left out, that of the magnitude mask after the OBS update.

    Raises
    ------
    InputError
        The incumbent lies below the unconstrained minimum.
    PatternError
        No pattern is set.
    """
    from pyomo.environ import Constraint, Objective, Reals, Set, Var, minimize

    H, b, c = expanded(problem)
    box = incumbent_box(problem, incumbent)
    low, high = (bound.tolist() for bound in box.with_zero)
    model = masked_model(problem, "joint-bigm")
    model.w = Var(model.I, domain=Reals, bounds=lambda _, i: (low[i], high[i]), doc="weights after pruning")
    model.loss = Objective(expr=c - inner(b, model.w) + half_square(H, model.w), sense=minimize)
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
    indispensable = np.flatnonzero(box.excludes_zero & problem.Z.free).tolist()
    model.indispensable = Set(initialize=indispensable, doc="weights whose box excludes zero")
    model.must_keep = Constraint(
        model.indispensable, rule=lambda m, i: m.z[i] >= 1, doc="pruning it alone costs more than the incumbent"
    )
    return model


FORMULATION = Formulation(
    name="joint-bigm",
    build=build,
    extract=read_mask,
    summary="joint mask and weights, big-M bounds from the ellipsoid of an incumbent",
    problem_class=ProblemClass.MIQP,
    bounds=Objective.JOINT,
    reference="Bertsimas, King & Mazumder, Best subset selection via a modern optimization lens, "
    "Ann. Statist. 44, 2016",
)
