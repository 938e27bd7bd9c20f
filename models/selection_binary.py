"""Selection (CBS-S): which weights to prune, the kept ones staying as trained; a convex binary QP.

Sets
    I = {0, …, n − 1}                   weights
Variables
    z_i ∈ {0, 1}                        1 keeps weight i, 0 prunes it
    p_i = 1 − z_i                       (an expression) 1 prunes weight i
Data
    A = diag(w̄) H diag(w̄)               A_ij: what pruning both i and j costs beyond pruning each alone
    a = w̄ ∘ g                           first-order gain; zero without a first-order term
Objective
    min  f(w̄) − aᵀp + ½ pᵀAp
Constraints
    (cardinality)  z ∈ Z                the pattern

Pruning more than Z asks for can pay, since entries of A can be negative and those of a have any sign.
"""

from __future__ import annotations

from typing import Any

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import half_square, inner, masked_model, set_loss
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.mask import read_mask


def selection_costs(problem: PruningProblem) -> tuple[Matrix, Vector]:
    """A = diag(w̄)H diag(w̄), shape (n, n), and a = w̄ ∘ g, shape (n,)."""
    w_bar = problem.w_bar
    return problem.curvature.dense() * w_bar * w_bar[:, None], w_bar * problem.linear_term()


def build(problem: PruningProblem, *, block: Any = None) -> Any:
    """The Pyomo model of ``problem``, whose pattern must be set unless the model is built on a ``block``.

    A block belongs to a larger model; see ``Formulation``.

    Raises
    ------
    PatternError
        No pattern is set.
    """
    from pyomo.environ import Expression

    A, a = selection_costs(problem)
    model = masked_model(problem, "selection-binary", block)
    model.p = Expression(model.I, rule=lambda m, i: 1 - m.z[i], doc="1 prunes the weight")
    set_loss(model, problem.offset - inner(a, model.p) + half_square(A, model.p), block)
    return model


FORMULATION = Formulation(
    name="selection-binary",
    build=build,
    extract=read_mask,
    summary="which weights to prune, kept ones as trained: binary QP",
    problem_class=ProblemClass.MIQP,
    bounds=Objective.SELECTION,
    reference="Yu, Serra, Ramalingam & Zhe, The Combinatorial Brain Surgeon, ICML 2022, CBS-S",
)
