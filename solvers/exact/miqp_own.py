"""A user's own formulation of the joint problem, for the methods that run a solver through Pyomo.

What the package knows about its own models has to be found out about a user's: how far columns and rows can move, and
whether the model minimizes one objective. That the optimum of the model is at most that of the problem is the word of
its author; a bound that is above the value of a known mask is thrown away, as for all models.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from cbs_opt.errors import CbsOptError, InputError, SolverError, UnsupportedError
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.arrays.validate import as_mask
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models import FORMULATIONS, by_name
from cbs_opt.models.formulation import Formulation
from cbs_opt.models.ranges import model_ranges


def require_joint(name: str, known: tuple[str, ...], method: str) -> None:
    """Raise UnsupportedError unless ``name`` is ``known``, or a user's own that bounds the joint problem."""
    if name in known:
        return
    if name in FORMULATIONS:
        raise UnsupportedError(
            f"method {method}: does not take formulation {name}; it takes {', '.join(known)} and your own"
        )
    if by_name(name).bounds is not Objective.JOINT:
        raise UnsupportedError(
            f"method {method}: formulation {name} does not say bounds=Objective.JOINT, so it is no model of the joint "
            "problem; solve it yourself, and have solution_of judge the mask"
        )


def own_model(spec: Formulation, problem: PruningProblem, incumbent: float) -> tuple[Any, float]:
    """The model of a user's formulation, and the sum of the ranges of its columns and rows, inf where one has no limit.

    Raises
    ------
    SolverError
        Building the model failed, or it does not minimize exactly one objective.
    """
    from pyomo.environ import Objective as PyomoObjective
    from pyomo.environ import minimize

    takes = inspect.signature(spec.build).parameters
    try:
        model = spec.build(problem, **({"incumbent": incumbent} if "incumbent" in takes else {}))
        objectives = list(model.component_data_objects(PyomoObjective, active=True))
        reach = model_ranges(model)
    except CbsOptError:
        raise
    except Exception as error:
        raise SolverError(f"formulation {spec.name}: its build function failed ({error!r})") from error
    if len(objectives) != 1 or objectives[0].sense != minimize:
        raise SolverError(f"formulation {spec.name}: its model has to minimize one objective, the loss f")
    return model, reach


def own_notes(spec: Formulation, reach: float) -> tuple[str, ...]:
    """The note that says what the bound of such a model rests on, or why there is none."""
    if reach == math.inf:
        return (f"no bound: a variable or a constraint of formulation {spec.name} can move without limit; bound it",)
    return (f"the bound is one if formulation {spec.name} cuts off no best mask: that is its author's word",)


def own_extract(spec: Formulation) -> Callable[[Any, PruningProblem], Mask]:
    """``spec.extract``, with its mask checked for shape and pattern."""

    def extract(model: Any, problem: PruningProblem) -> Mask:
        try:
            mask = as_mask(spec.extract(model, problem), f"formulation {spec.name}: the extracted mask", problem.n)
        except InputError as error:
            raise SolverError(str(error)) from None
        if not problem.Z.contains(mask):
            raise SolverError(f"formulation {spec.name}: the extracted mask is outside the pattern ({problem.Z})")
        return mask

    return extract
