"""Relaxation, rounding and exchanges for a layer: a mask that a proven bound suggests, improved, and that bound.

``bounds.rows`` solves the perspective relaxation of all rows together. It is rounded in two ways, to the best mask for
its relaxed z (ties by score) and to the best mask for its scores. The exchanges of ``row_swap`` start from the one with
the smaller loss after the update. Under weak damping the relaxation is a poor guide: the rounded mask can be worse than
that of magnitude before the exchanges.
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
    """Solve the relaxation, which proves a bound, round it, and exchange weights until none helps.

    Parameters
    ----------
    device : str
        Where the relaxation is solved and the mask searched: 'cpu' or 'cuda'. The bound is evaluated on the CPU.
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
