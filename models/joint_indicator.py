"""Joint pruning (CBS) as a disjunction per weight: keep it in its box, or set it to zero.

Sets
    I = {0, …, n − 1}                   weights
Variables
    z_i ∈ {0, 1}                        1 keeps weight i, 0 prunes it
    w_i ∈ [min(l_i, 0), max(u_i, 0)]    weight i after pruning; [l_i, u_i] the incumbent box
Objective
    min  c − bᵀw + ½ wᵀHw               b = Hw̄ − g, c = f(0)
Constraints
    (cardinality)  z ∈ Z                                                the pattern
    (choice)       [ keep_i: l_i ≤ w_i ≤ u_i ]  ∨  [ prune_i: w_i = 0 ]     i ∈ I, exactly one of the two
    (agree)        z_i = 1 exactly where keep_i holds                   i ∈ I

A generalized disjunctive program (Pyomo GDP) says this without big-M constants. A solver or a file gets one of its
transformations: ``gdp.bigm``, which has the fewest variables, or ``gdp.hull``, which has a copy of w_i for each
disjunct. For these disjuncts both relaxations are the same, because each disjunct is an interval.
"""

from __future__ import annotations

from typing import Any

from cbs_opt.errors import UnsupportedError
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import expanded, half_square, inner, set_loss
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.joint import chosen_incumbent, joint_model
from cbs_opt.models.mask import read_mask

TRANSFORMATIONS = ("gdp.bigm", "gdp.hull")


def build(
    problem: PruningProblem, *, block: Any = None, incumbent: float | None = None, transformation: str | None = None
) -> Any:
    """The Pyomo model of ``problem``, whose pattern must be set unless the model is built on a block.

    Parameters
    ----------
    block : Block, optional
        A block of a larger model to build on; see ``Formulation``.
    incumbent : float, optional
        U, the objective of a feasible w; left out, a value is found (``models.joint.chosen_incumbent``).
    transformation : {'gdp.bigm', 'gdp.hull'}, optional
        Turns the disjunctions into linear constraints. Left out, they stay in the model, which can then be looked at,
        transformed, or given to a GDP solver, but not written to a file.

    Raises
    ------
    InputError
        The incumbent lies below the unconstrained minimum.
    PatternError
        No pattern is set.
    UnsupportedError
        Another transformation is named.
    """
    from pyomo.environ import Constraint, TransformationFactory
    from pyomo.gdp import Disjunct, Disjunction

    if transformation is not None and transformation not in TRANSFORMATIONS:
        raise UnsupportedError(
            f"transformation {transformation!r}: not for this formulation; it has {', '.join(TRANSFORMATIONS)}"
        )
    H, b, c = expanded(problem)
    model, box = joint_model(problem, "joint-indicator", chosen_incumbent(problem, incumbent, block), block)
    lower, upper = box.lower.tolist(), box.upper.tolist()
    set_loss(model, c - inner(b, model.w) + half_square(H, model.w), block)

    def keep(disjunct: Any, i: int) -> None:
        disjunct.in_box = Constraint(expr=(lower[i], model.w[i], upper[i]), doc="a kept weight lies in its box")

    def prune(disjunct: Any, i: int) -> None:
        disjunct.at_zero = Constraint(expr=model.w[i] == 0, doc="a pruned weight is zero")

    model.keep = Disjunct(model.I, rule=keep, doc="weight i is kept")
    model.prune = Disjunct(model.I, rule=prune, doc="weight i is pruned")
    model.choice = Disjunction(
        model.I, rule=lambda m, i: [m.keep[i], m.prune[i]], xor=True, doc="a weight is kept or pruned"
    )
    model.agree = Constraint(
        model.I,
        rule=lambda m, i: m.keep[i].binary_indicator_var - m.z[i] == 0,
        doc="the mask says which",
    )
    if transformation is not None:
        TransformationFactory(transformation).apply_to(model)
    return model


FORMULATION = Formulation(
    name="joint-indicator",
    build=build,
    extract=read_mask,
    summary="joint mask and weights, a keep-or-prune disjunction per weight (GDP)",
    problem_class=ProblemClass.MIQP,
    bounds=Objective.JOINT,
    reference="Chen et al., Pyomo.GDP: an ecosystem for logic based modeling and optimization, Optim. Eng. 23, 2022",
)
