"""From arrays to Pyomo expressions, and the sets and masks every formulation begins with."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.problem import PruningProblem


def expanded(problem: PruningProblem) -> tuple[Matrix, Vector, float]:
    """H (n, n), b (n,) and c of f(w) = c − bᵀw + ½wᵀHw: b = Hw̄ − g, c = f(0)."""
    H = problem.curvature.dense()
    b = problem.curvature.matvec(problem.w_bar) - problem.linear_term()
    return H, b, problem.objective(np.zeros(problem.n))


def half_square(M: Matrix, x: Any) -> Any:
    """½ xᵀMx for a symmetric ``M`` (n, n) and a Pyomo component ``x`` over 0 … n − 1; zero entries left out."""
    from pyomo.environ import quicksum

    rows, columns = np.nonzero(np.triu(M))
    coefficients = np.where(rows == columns, 0.5, 1.0) * M[rows, columns]
    terms = zip(coefficients.tolist(), rows.tolist(), columns.tolist(), strict=True)
    return quicksum(a * (x[i] * x[j]) for a, i, j in terms)


def inner(a: Vector, x: Any) -> Any:
    """aᵀx for ``a`` (n,) and a Pyomo component ``x`` over 0 … n − 1; zero entries left out."""
    from pyomo.environ import quicksum

    return quicksum(a_i * x[i] for i, a_i in enumerate(a.tolist()) if a_i != 0)


def masked_model(problem: PruningProblem, formulation: str, block: Any = None) -> Any:
    """A model with the weights I = {0, …, n − 1}, the mask z ∈ {0,1}ⁿ (1 keeps) and the pattern z ∈ Z.

    Where a ``block`` is given, a Pyomo Block of a larger model, the components are put on it. A problem without a
    pattern then leaves z to the constraints of that model.
    """
    from pyomo.environ import Binary, ConcreteModel, RangeSet, Var

    model = ConcreteModel(name=formulation, doc=problem.name or None) if block is None else block
    model.I = RangeSet(0, problem.n - 1, doc="weights")
    model.z = Var(model.I, domain=Binary, doc="1 keeps the weight, 0 prunes it")
    if block is None or problem.pattern is not None:
        problem.Z.constrain(model)
    return model


def set_loss(model: Any, loss: Any, block: Any) -> None:
    """Add the expression ``model.loss``, and the objective that minimizes it unless ``model`` is a ``block``.

    A block is part of a larger model, which has an objective of its own.
    """
    from pyomo.environ import Expression, Objective, minimize

    model.loss = Expression(expr=loss, doc="the quadratic model of the loss")
    if block is None:
        model.objective = Objective(expr=model.loss, sense=minimize)
