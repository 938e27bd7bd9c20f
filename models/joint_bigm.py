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
    (must_keep)    z_i ≥ 1                        i: 0 ∉ [l_i, u_i]    every w with w_i = 0 has f(w) > U

The box encloses the ellipsoid of all w no worse than the incumbent and is, coordinate by coordinate and but for its
margin for round-off, as tight as U allows. (lower), (upper) and (must_keep) cut off no optimal solution. Weights that
the pattern itself decides are left out of (must_keep).
"""

from __future__ import annotations

from typing import Any

from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import expanded, half_square, inner, set_loss
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.joint import chosen_incumbent, joint_model, keep_indispensable, zero_where_pruned
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
    H, b, c = expanded(problem)
    model, box = joint_model(problem, "joint-bigm", chosen_incumbent(problem, incumbent, block), block)
    set_loss(model, c - inner(b, model.w) + half_square(H, model.w), block)
    zero_where_pruned(model, box)
    keep_indispensable(model, problem, box)
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
