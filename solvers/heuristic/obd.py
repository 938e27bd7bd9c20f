"""Optimal Brain Damage: prune where a diagonal model of the loss increases least.

Pruning weight i alone, with all others as trained, costs

    s_i = f(w̄ − w̄_i e_i) − f(w̄) = ½ H_ii w̄_i² − g_i w̄_i,            z = argmax_{z∈Z} Σ z_i s_i.

Where the pattern keeps weights together, a unit u of them is pruned as a whole and costs ½ w̄_uᵀH_uuw̄_u − g_uᵀw̄_u,
which is not the sum of its s_i. Without a first-order term the mask is optimal for CBS-S where H is diagonal. With a
first-order term s_i can be negative: pruning i would help. The oracle of a pattern takes scores ≥ 0, so that the scores
of all free units are then raised by the same amount, which changes no ranking among masks that keep the same number of
units.

LeCun, Denker & Solla, Optimal brain damage, NIPS 1989.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.operations import ranking
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.heuristic.unit_scores import as_trained, on_first


def run(problem: PruningProblem) -> Outcome:
    """Return the mask of Z that maximizes Σ z_i s_i; ties keep the lower index."""
    return Outcome(problem.Z.argmax(_scores(problem)))


def _scores(problem: PruningProblem) -> Vector:
    """The scores s ≥ 0, shape (n,), in the units of f; that of a unit stands on its first free weight."""
    scores = as_trained(problem.curvature, problem.w_bar, problem.Z)
    if problem.g is None:
        return scores
    scores -= on_first(problem.Z, problem.g * problem.w_bar)
    free = np.flatnonzero(problem.Z.free)
    units = np.asarray(problem.Z.units)[free]
    first = free[np.unique(units, return_index=True)[1]]
    scores[first] -= scores[first].min(initial=0.0)
    return np.asarray(np.maximum(scores, 0.0))  # what is still negative belongs to forced weights, which no score moves


SPEC = MethodSpec(
    name="obd",
    run=run,
    summary="keep the largest ½ H_ii w̄_i², of units ½ w̄_uᵀH_uuw̄_u (diagonal model)",
    exact=False,
    objective=Objective.SELECTION,
    reference="LeCun, Denker & Solla, NIPS 1989",
    patterns=(Pattern,),
    operations=ranking,
)
