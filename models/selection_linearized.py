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
    (first)        y_ij ≤ p_i                     (i,j) ∈ E  both are pruned only where i is
    (second)       y_ij ≤ p_j                     (i,j) ∈ E  both are pruned only where j is
    (both)         y_ij ≥ p_i + p_j − 1           (i,j) ∈ E  both are pruned where each is
    (pruned_with)    Σ_{j ∈ L, j≠i} y_ij ≥ (k_L − 1) p_i           i ∈ L     if i is pruned, so are k_L − 1 others of L
                     Σ_{j ∈ L} y_ij ≥ k_L p_i                      i ∉ L     if i is pruned, so are k_L of L
    (pruned_without) Σ_{j ∈ L, j≠i} (p_j − y_ij) ≥ k_L (1 − p_i)   i ∈ I     if i is kept, k_L others of L are pruned

(pruned_with) and (pruned_without) are there for every label L, a set of weights of which at least k_L have to go: all
weights for a cardinality, a row or a group for quotas and N:M. They are left out for a pattern that has no labels.
(first), (second) and (both) are McCormick's; at binary p they fix y. (pruned_with) and (pruned_without) are
Σ_{j ∈ L} p_j ≥ k_L multiplied by p_i and by 1 − p_i: implied for binary p, but without them the LP relaxation is worth
little. The count stays an inequality: with A_ij < 0 or a ≠ 0, pruning more than k_L can be cheaper.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.patterns import Labelled
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import inner, masked_model, set_loss
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.mask import read_mask
from cbs_opt.models.selection_binary import selection_costs


def build(problem: PruningProblem, *, block: Any = None) -> Any:
    """The Pyomo model of ``problem``, with n(n − 1)/2 products of three constraints each.

    Its pattern must be set unless the model is built on a ``block`` of a larger model; see ``Formulation``.

    Raises
    ------
    PatternError
        No pattern is set.
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
    if pattern is not None:
        _multiply_counts(model, pattern)
    return model


def _multiply_counts(model: Any, pattern: Labelled) -> None:
    """Add (pruned_with) and (pruned_without) for every label L with k_L > 0."""
    from pyomo.environ import Constraint, Set, quicksum

    quota = (pattern.count(np.ones(pattern.n, dtype=np.bool_)) - pattern.room).tolist()
    members = [np.flatnonzero(pattern.labels == label).tolist() for label in range(len(quota))]
    model.L = Set(initialize=[label for label, k in enumerate(quota) if k > 0], doc="labels that have to prune")

    def partners(m: Any, i: int, label: int) -> Any:
        return quicksum(m.y[min(i, j), max(i, j)] for j in members[label] if j != i)

    def pruned_with(m: Any, i: int, label: int) -> Any:
        others = quota[label] - (i in members[label])
        return partners(m, i, label) - others * m.p[i] >= 0 if others else Constraint.Skip

    def pruned_without(m: Any, i: int, label: int) -> Any:
        pruned = quicksum(m.p[j] for j in members[label] if j != i)
        if members[label] == [i]:
            return Constraint.Skip  # the only weight of its label, and the pattern prunes it
        return pruned - partners(m, i, label) - quota[label] * (1 - m.p[i]) >= 0

    model.pruned_with = Constraint(model.I, model.L, rule=pruned_with, doc="if the weight is pruned, others are")
    model.pruned_without = Constraint(
        model.I, model.L, rule=pruned_without, doc="if the weight is kept, others are not"
    )


FORMULATION = Formulation(
    name="selection-linearized",
    build=build,
    extract=read_mask,
    summary="which weights to prune, kept ones as trained: products linearized, counts multiplied in",
    problem_class=ProblemClass.MILP,
    bounds=Objective.SELECTION,
    reference="McCormick, Math. Program. 10, 1976; Sherali & Adams, SIAM J. Discrete Math. 3, 1990",
)
