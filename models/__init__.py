"""Pyomo formulations of the pruning problem, one in each file: the mathematics first, then ``build`` and ``extract``.

Pyomo itself is imported when a model is built, not when this package is.
"""

from __future__ import annotations

from cbs_opt.errors import unknown_name
from cbs_opt.models import (
    joint_bigm,
    joint_indicator,
    joint_perspective,
    joint_rank_one,
    joint_sos1,
    selection_binary,
    selection_linearized,
    update_qp,
)
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.solution import solution_of
from cbs_opt.models.write import write_model

FORMULATIONS: dict[str, Formulation] = {
    spec.name: spec
    for spec in (
        joint_bigm.FORMULATION,
        joint_indicator.FORMULATION,
        joint_sos1.FORMULATION,
        joint_perspective.FORMULATION,
        joint_rank_one.FORMULATION,
        selection_binary.FORMULATION,
        selection_linearized.FORMULATION,
        update_qp.FORMULATION,
    )
}
"""The formulations that come with the package, by name, in the order of the documentation."""

_OWN: dict[str, Formulation] = {}


def register_formulation(spec: Formulation) -> None:
    """Make a formulation of your own known by its name, for as long as this process runs.

    Where its ``bounds`` is ``Objective.JOINT``, ``solve(problem, "gurobi", formulation=NAME)`` and the other methods
    that run a solver through Pyomo take it. Their bound is valid only if the optimum of your model never exceeds that
    of the problem, which nothing can check for you.

    Parameters
    ----------
    spec : Formulation
        The formulation; its name must be new.

    Raises
    ------
    ValueError
        A formulation of that name exists.
    """
    if spec.name in FORMULATIONS or spec.name in _OWN:
        raise ValueError(f"formulation {spec.name}: the name is taken; choose another")
    _OWN[spec.name] = spec


def by_name(name: str) -> Formulation:
    """The formulation called ``name``: one of ``FORMULATIONS``, or one of your own that was registered.

    Raises
    ------
    UnknownMethodError
        No formulation has that name; the message lists those that exist.
    """
    known = {**FORMULATIONS, **_OWN}
    if name not in known:
        raise unknown_name("formulation", name, list(known))
    return known[name]


__all__ = [
    "FORMULATIONS",
    "Formulation",
    "ProblemClass",
    "by_name",
    "register_formulation",
    "solution_of",
    "write_model",
]
