"""What a formulation declares about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel


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
        ``build(problem, *, option=default, …) -> ConcreteModel``, in the units of the problem, minimizing f.
    extract : callable
        ``extract(model, problem) -> mask``, shape (n,), of a model that a solver has filled with values.
    summary : str
        One line for listings.
    problem_class : ProblemClass
    bounds : Objective or None
        The problem that a lower bound on the model bounds; None where the mask is given, so that the
        model's optimum is only an upper bound.
    reference : str
        Where the formulation comes from.
    """

    name: str
    build: Callable[..., ConcreteModel]
    extract: Callable[[ConcreteModel, PruningProblem], Mask]
    summary: str
    problem_class: ProblemClass
    bounds: Objective | None
    reference: str
