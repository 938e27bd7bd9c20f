"""Pyomo formulations, one a file: mathematics first, then build and extract.

Pyomo itself is imported when a model is built, not with this package.
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
"""All formulations by name, in the order of the documentation."""


def by_name(name: str) -> Formulation:
    """The formulation called ``name``.

    Raises
    ------
    UnknownMethodError
        Listing the names there are.
    """
    if name not in FORMULATIONS:
        raise unknown_name("formulation", name, list(FORMULATIONS))
    return FORMULATIONS[name]


__all__ = ["FORMULATIONS", "Formulation", "ProblemClass", "by_name", "solution_of", "write_model"]
