"""From arrays to Pyomo expressions, and the sets and masks every formulation begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.problem import PruningProblem

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel


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


def masked_model(problem: PruningProblem, formulation: str) -> ConcreteModel:
    """A model with the weights I = {0, …, n − 1}, the mask z ∈ {0,1}ⁿ (1 keeps) and the pattern z ∈ Z."""
    from pyomo.environ import Binary, ConcreteModel, RangeSet, Var

    model = ConcreteModel(name=formulation, doc=problem.name or None)
    model.I = RangeSet(0, problem.n - 1, doc="weights")
    model.z = Var(model.I, domain=Binary, doc="1 keeps the weight, 0 prunes it")
    problem.Z.constrain(model)
    return model
