"""Reads the mask from a solved model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cbs_opt.errors import SolverError
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.problem import PruningProblem

INTEGRALITY_TOLERANCE = 1e-4
"""How far from 0 or 1 a solver may leave z_i."""


def read_mask(model: Any, problem: PruningProblem) -> Mask:
    """The rounded z of a solved model, or of a block of a larger one, as a mask of shape (n,), 1 keeps.

    Raises
    ------
    SolverError
        z has another length than the problem, has no values, is not integral to 1e-4, or lies outside the problem's
        pattern when rounded.
    """
    from pyomo.environ import value

    values = [value(model.z[i], exception=False) for i in model.I]
    if len(values) != problem.n:
        raise SolverError(f"{model.name}: has {len(values)} weights, but the problem has {problem.n}; they must agree")
    z = np.array([math.nan if entry is None else float(entry) for entry in values])
    off = np.abs(z - np.round(z))
    i = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
    if np.isnan(z[i]):
        raise SolverError(f"{model.name}: z[{i}] has no value; solve the model and load its solution first")
    if off[i] > INTEGRALITY_TOLERANCE:
        raise SolverError(f"{model.name}: z[{i}] = {z[i]:.9g} is not integral; tighten the solver's tolerance")
    mask: Mask = np.round(z) == 1.0
    if problem.pattern is not None and not problem.pattern.contains(mask):
        raise SolverError(f"{model.name}: the mask is outside the pattern ({problem.pattern}); it cannot be used")
    return mask
