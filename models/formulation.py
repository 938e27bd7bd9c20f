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
    """What a solver must be able to solve."""

    QP = "QP"
    MILP = "MILP"
    MIQP = "MIQP"
    MISOCP = "MISOCP"


@dataclass(frozen=True)
class Formulation:
    """One formulation: a file that ends in one of these, listed in ``cbs_opt.models``.

    Parameters
    ----------
    name : str
        What users type.
    build : callable
        ``build(problem, *, block=None, option=default, …)``, in the units of the problem. Without a block it returns
        a ``ConcreteModel`` that minimizes f. With one, a Pyomo ``Block`` of the user's own model, it fills and returns
        that: z, w and the constraints stand there, and the expression ``loss`` is f, for an objective that the user
        sets. It may be what a rule returns: ``Block(rule=lambda b: spec.build(problem, block=b))``.
    extract : callable
        ``extract(model, problem) -> mask``, shape (n,), of a model that a solver has filled with values.
    summary : str
        One line for listings.
    problem_class : ProblemClass
        What a solver must be able to solve.
    bounds : Objective or None
        The problem that a lower bound on the model bounds; None where the mask is given, so that the
        model's optimum is only an upper bound.
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
