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

A generalized disjunctive program (Pyomo GDP) says this without any constant of its own; what a solver or
a file gets is one of its transformations: ``gdp.bigm`` (fewest variables) or ``gdp.hull`` (a copy of w_i per
disjunct; for these disjuncts its relaxation is the same, because each is an interval).
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
    """The model of ``problem``; its pattern must be set, but on a block.

    Parameters
    ----------
    block : Block, optional
        Of a larger model, see ``Formulation.build``.
    incumbent : float, optional
        U, the objective of a feasible w; left out, ``chosen_incumbent``.
    transformation : {'gdp.bigm', 'gdp.hull'}, optional
        Turn the disjunctions into linear constraints; left out, they stay, and the model is to be
        looked at, transformed or given to a GDP solver, not written.

    Raises
    ------
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
