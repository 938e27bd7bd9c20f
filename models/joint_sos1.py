"""Joint pruning (CBS) without big-M constants: w_i and p_i = 1 − z_i form a special ordered set of type one.

Sets
    I = {0, …, n − 1}                   weights
Variables
    z_i ∈ {0, 1}                        1 keeps weight i, 0 prunes it
    p_i = 1 − z_i ≥ 0                   1 prunes weight i (a variable of its own: such sets hold variables)
    w_i ∈ [min(l_i, 0), max(u_i, 0)]    weight i after pruning; [l_i, u_i] the incumbent box (``cbs_opt.models.box``)
Objective
    min  c − bᵀw + ½ wᵀHw               b = Hw̄ − g, c = f(0)
Constraints
    (cardinality)  z ∈ Z                                     the pattern
    (pruned)       p_i = 1 − z_i                  i ∈ I
    (either)       {w_i, p_i} of type one         i ∈ I      at most one of the two differs from zero
    (must_keep)    z_i ≥ 1                        i: 0 ∉ [l_i, u_i]    every w with w_i = 0 has f(w) > U

(either) says w_i p_i = 0 exactly, where a big-M constraint w_i ≤ M z_i lets a solver that tolerates z_i = 1e-6 keep
w_i = 1e-6·M. A solver branches on the sets. Its relaxation at the root ignores them and knows only the box, so that
bounds rise slowly. The model needs a solver that knows sets of type one: SCIP and Gurobi do, HiGHS does not.
"""

from __future__ import annotations

from typing import Any

from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import expanded, half_square, inner, set_loss
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.joint import chosen_incumbent, joint_model, keep_indispensable
from cbs_opt.models.mask import read_mask


def build(problem: PruningProblem, *, block: Any = None, incumbent: float | None = None) -> Any:
    """The Pyomo model of ``problem``, whose pattern must be set unless the model is built on a block.

    Parameters
    ----------
    block : Block, optional
        A block of a larger model to build on; see ``Formulation``.
    incumbent : float, optional
        U, the objective of a feasible w; left out, a value is found (``models.joint.chosen_incumbent``).

    Raises
    ------
    InputError
        The incumbent lies below the unconstrained minimum.
    PatternError
        No pattern is set.
    """
    from pyomo.environ import Constraint, SOSConstraint, Var

    H, b, c = expanded(problem)
    model, box = joint_model(problem, "joint-sos1", chosen_incumbent(problem, incumbent, block), block)
    set_loss(model, c - inner(b, model.w) + half_square(H, model.w), block)
    model.p = Var(model.I, bounds=(0, 1), doc="1 prunes the weight")
    model.pruned = Constraint(model.I, rule=lambda m, i: m.p[i] + m.z[i] == 1, doc="what is not kept is pruned")
    # The numbers [1, 2] order the two variables: a set of type one needs no order, but a file of the model does.
    model.either = SOSConstraint(
        model.I, rule=lambda m, i: ([m.w[i], m.p[i]], [1, 2]), sos=1, doc="the weight is zero, or it is not pruned"
    )
    keep_indispensable(model, problem, box)
    return model


FORMULATION = Formulation(
    name="joint-sos1",
    build=build,
    extract=read_mask,
    summary="joint mask and weights, a special ordered set of type one per weight instead of big M",
    problem_class=ProblemClass.MIQP,
    bounds=Objective.JOINT,
    reference="Beale & Tomlin, Special facilities in a general mathematical programming system, 1970; "
    "Burdakov, Kanzow & Schwartz, SIAM J. Optim. 26, 2016",
)
