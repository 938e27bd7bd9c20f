"""What a formulation declares about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem


class ProblemClass(StrEnum):
    """What a solver must be able to solve; every objective and relaxation here is convex."""

    QP = "QP"
    """Quadratic objective, linear constraints, no integers."""

    MILP = "MILP"
    """Linear objective and constraints, with integers."""

    MIQP = "MIQP"
    """Quadratic objective, linear constraints, with integers."""

    MISOCP = "MISOCP"
    """Quadratic objective, linear and second-order cone constraints, with integers."""


@dataclass(frozen=True)
class Formulation:
    """What a formulation declares about itself, for the commands and solvers that use it.

    Every file of a formulation in ``cbs_opt.models`` ends in one of these; ``register_formulation`` adds one of your
    own.

    Parameters
    ----------
    name : str
        The name that users type.
    build : callable
        ``build(problem, *, block=None, option=default, …)`` builds the model, in the units of the problem. Without a
        block it returns a ``ConcreteModel`` that minimizes f. With a block, a Pyomo ``Block`` of a larger model of
        yours, it puts the variables, the constraints and the expression ``loss``, which is f, on that block and returns
        it; the objective of the larger model is yours to set. A rule may call it, as in
        ``Block(rule=lambda b: spec.build(problem, block=b))``.
    extract : callable
        ``extract(model, problem) -> mask`` reads the mask, shape (n,), 1 keeps, from a model that a solver has filled
        with values.
    summary : str
        One line for listings.
    problem_class : ProblemClass
        What a solver must be able to solve.
    bounds : Objective or None
        The problem for which a lower bound on the model's optimum is a lower bound too; None where the mask is given,
        so that the model's optimum is only an upper bound.
    reference : str
        Where the formulation comes from.
    """

    name: str
    build: Callable[..., Any]
    extract: Callable[[Any, PruningProblem], Mask]
    summary: str
    problem_class: ProblemClass
    bounds: Objective | None
    reference: str
