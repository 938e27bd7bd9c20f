"""Selection (CBS-S) as a mixed-integer linear program: every product of two decisions is a variable.

Sets
    I = {0, …, n − 1}                   weights
    E = {(i, j): i < j}                 pairs of weights; y_ij stands for y_ji too
Variables
    z_i ∈ {0, 1}                        1 keeps weight i, 0 prunes it
    p_i = 1 − z_i                       (an expression) 1 prunes weight i
    y_ij ∈ [0, 1]                       p_i p_j: both are pruned
Data
    A = diag(w̄) H diag(w̄), a = w̄ ∘ g
Objective
    min  f(w̄) + Σ_i (½A_ii − a_i) p_i + Σ_{(i,j) ∈ E} A_ij y_ij               (p_i² = p_i)
Constraints
    (cardinality)  z ∈ Z                                     the pattern
    (first)        y_ij ≤ p_i                     (i,j) ∈ E  both pruned only where the first is
    (second)       y_ij ≤ p_j                     (i,j) ∈ E  … and the second
    (both)         y_ij ≥ p_i + p_j − 1           (i,j) ∈ E  both pruned where each is
    (pruned_with)    Σ_{j≠i} y_ij ≥ (k − 1) p_i                i ∈ I    if i is pruned, k − 1 others are
    (pruned_without) Σ_{j≠i} (p_j − y_ij) ≥ k (1 − p_i)        i ∈ I    if i is kept, k others are pruned

(first), (second) and (both) are McCormick's; at binary p they fix y. (pruned_with) and (pruned_without) are
the cardinality Σ_j p_j ≥ k multiplied by p_i and by 1 − p_i: implied for binaries, and what makes the LP
relaxation worth anything. Cardinality stays an inequality: with A_ij < 0 or a ≠ 0, pruning more than k can be
cheaper. For a pattern that is not one such count (pruned_with) and (pruned_without) are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import inner, masked_model, set_loss
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.mask import read_mask
from cbs_opt.models.selection_binary import selection_costs


def build(problem: PruningProblem, *, block: Any = None) -> Any:
    """The model of ``problem``; n(n − 1)/2 products, three constraints each.

    Its pattern must be set, but on a ``block`` (see ``Formulation.build``).
    """
    from pyomo.environ import Constraint, Expression, Set, Var, quicksum

    n = problem.n
    A, a = selection_costs(problem)
    model = masked_model(problem, "selection-linearized", block)
    model.p = Expression(model.I, rule=lambda m, i: 1 - m.z[i], doc="1 prunes the weight")
    rows, columns = (index.tolist() for index in np.triu_indices(n, 1))
    model.E = Set(dimen=2, initialize=list(zip(rows, columns, strict=True)), doc="pairs of weights")
    model.y = Var(model.E, bounds=(0, 1), doc="both weights of the pair are pruned")
    cost = A[rows, columns].tolist()
    set_loss(
        model,
        problem.offset
        + inner(A.diagonal() / 2 - a, model.p)
        + quicksum(A_ij * model.y[pair] for A_ij, pair in zip(cost, model.E, strict=True) if A_ij != 0),
        block,
    )
    model.first = Constraint(
        model.E, rule=lambda m, i, j: m.y[i, j] <= m.p[i], doc="both are pruned only where the first is"
    )
    model.second = Constraint(
        model.E, rule=lambda m, i, j: m.y[i, j] <= m.p[j], doc="both are pruned only where the second is"
    )
    model.both = Constraint(
        model.E, rule=lambda m, i, j: m.y[i, j] >= m.p[i] + m.p[j] - 1, doc="both are pruned where each is"
    )
    pattern = problem.pattern.labelled if problem.pattern is not None else None
    if pattern is not None and pattern.single:
        _multiply_cardinality(model, n - int(pattern.room[0]))
    return model


def _multiply_cardinality(model: Any, k: int) -> None:
    """Σ_j p_j ≥ k times p_i, and times 1 − p_i."""
    from pyomo.environ import Constraint, quicksum

    def partners(m: Any, i: int) -> Any:
        return quicksum(m.y[min(i, j), max(i, j)] for j in m.I if j != i)

    def pruned_with(m: Any, i: int) -> Any:
        return partners(m, i) - (k - 1) * m.p[i] >= 0

    def pruned_without(m: Any, i: int) -> Any:
        return quicksum(m.p[j] for j in m.I if j != i) - partners(m, i) - k * (1 - m.p[i]) >= 0

    if k > 1:
        model.pruned_with = Constraint(model.I, rule=pruned_with, doc="if the weight is pruned, k − 1 others are")
    if k > 0:
        model.pruned_without = Constraint(model.I, rule=pruned_without, doc="if the weight is kept, k others are not")


FORMULATION = Formulation(
    name="selection-linearized",
    build=build,
    extract=read_mask,
    summary="which weights to prune, kept ones as trained: products linearized, cardinality multiplied in",
    problem_class=ProblemClass.MILP,
    bounds=Objective.SELECTION,
    reference="McCormick, Math. Program. 10, 1976; Sherali & Adams, SIAM J. Discrete Math. 3, 1990",
)
