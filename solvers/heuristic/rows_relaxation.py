"""Relaxation, rounding and exchanges for a layer: the mask that the proven bound suggests, polished, and that bound.

``bounds.rows`` solves the perspective relaxation of all rows together. Of its two roundings, the best mask by its
relaxed z (ties by score) and by its scores, the one with the smaller loss after the update is where the exchanges of
``row_swap`` start. Weak damping makes the relaxation a poor guide: its rounding alone can be worse than magnitude.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Labelled
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.kernel.update import obs_update
from cbs_opt.solvers.bounds.rows import bound_rows
from cbs_opt.solvers.heuristic.row_swap import improve_rows


def run(problem: PruningProblem, *, device: str = "cpu") -> Outcome:
    """Bound, round, exchange.

    Parameters
    ----------
    device : str
        Where the relaxation is solved and searched: 'cpu' or 'cuda'. The bound is evaluated on the CPU.
    """
    found = bound_rows(problem, device)
    largest = float(found.scores.max()) or 1.0
    by_mask = problem.Z.argmax(found.relaxed + 1e-9 * found.scores / largest)
    by_score = problem.Z.argmax(found.scores)
    masks = [by_mask] if np.array_equal(by_mask, by_score) else [by_mask, by_score]
    mask = min(masks, key=lambda z: problem.objective(obs_update(problem, z)))
    return Outcome(improve_rows(problem, mask, device), bound=found.value)


SPEC = MethodSpec(
    name="rows-relaxation",
    run=run,
    summary="round the perspective relaxation of a layer's rows, then exchange; proves a bound",
    exact=False,
    objective=Objective.JOINT,
    reference="bound (B) with one splitting for all rows",
    patterns=(Labelled,),
    left_out_because="made for layers and whole networks",
)
