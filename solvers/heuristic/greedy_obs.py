"""Greedy OBS: prune one unit at a time, the cheapest first, and re-tune all others after each.

A unit is what the pattern keeps or prunes together (``Pattern.units``): a single weight, unless weights stand in groups.
With S the weights still kept, B = (H_SS)⁻¹ and w the re-tuned weights on S, pruning the unit P costs ½w_Pᵀ(B_PP)⁻¹w_P, for
a single weight w_p²/(2B_pp), and w and B are brought up to date by blocks (``unit_state``): O(n²) a weight, O(kn²) in all.
Hassibi & Stork, NIPS 1992; Frantar & Alistarh, Optimal Brain Compression, NeurIPS 2022 (their ExactOBS); by groups Kurtić,
Frantar & Alistarh, ZipLM, NeurIPS 2023.

What counts is the cost for how much nearer a unit brings the mask to the pattern (``Pattern.relief``). Where labels or
groups are counted that is the same for all that may go, and the cheapest goes. Under a budget it is the unit's part of what
is too much: a loss for each unit of cost, as Dantzig's rule has it, which would be best if losses only added and units
could go in part. What several patterns allow together is met one after the other, that of the smallest units first: 2:4
inside kept filters prunes to 2:4 everywhere, then whole filters. At last whatever has room after all is kept again.

The rows of a layer whose weights carry labels are pruned side by side, see ``greedy_rows``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.curvature import Curvature, RowsCurvature
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.operations import LayerSize, Operations
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.forms.unit_parts import Places, forced, parts_of, pieces_of, undecided
from cbs_opt.solvers.heuristic.greedy_rows import prune_rows
from cbs_opt.solvers.heuristic.start import grown
from cbs_opt.solvers.heuristic.unit_state import Tuned, tuned

DOWNDATES = 15
"""For the estimate: operations of a row's trace, over d³."""


def run(problem: PruningProblem, *, device: str = "cpu") -> Outcome:
    """Prune in sequence until the mask is in Z.

    Parameters
    ----------
    device : str
        Where the rows of a layer are pruned: 'cpu' or 'cuda'. A dense problem is solved on the CPU.
    """
    return Outcome(greedy_mask(problem.curvature, problem, device))


@singledispatch
def greedy_mask(curvature: Curvature, problem: PruningProblem, device: str) -> Mask:
    """The greedy mask of ``problem``, whose curvature is the first argument: all weights in one sequence."""
    return prune_in_sequence(pieces_of(curvature), problem.minimizer(), problem.Z)


@greedy_mask.register
def _side_by_side(curvature: RowsCurvature, problem: PruningProblem, device: str) -> Mask:
    if problem.Z.labelled is None:
        return prune_in_sequence(pieces_of(curvature), problem.minimizer(), problem.Z)
    return prune_rows(problem, device)


def prune_in_sequence(pieces: Sequence[tuple[int, Matrix]], center: Vector, pattern: Pattern) -> Mask:
    """The greedy mask, shape (n,): no weight that it prunes could be kept as well; ties prune the lower unit.

    Parameters
    ----------
    pieces : sequence of (rows, H)
        As ``pieces_of`` has them; [(1, H)] for a dense H.
    center : array, shape (n,)
        The unconstrained minimizer H⁻¹b.
    """
    z = pattern.free | forced(pattern)
    sequence: list[Places] = []
    for part in sorted(pattern.parts, key=lambda part: -len(np.unique(part.units))):
        z = _within(pieces, center, part, z, sequence)
    return grown(pattern, z, reversed(sequence))


def _within(
    pieces: Sequence[tuple[int, Matrix]], center: Vector, pattern: Pattern, z: Mask, sequence: list[Places]
) -> Mask:
    """``z`` with more units pruned until it is in ``pattern``; what is pruned is noted in ``sequence``."""
    relief = pattern.relief(z)
    if not relief.any():
        return z
    z, units = z.copy(), np.asarray(pattern.units, dtype=np.int64)
    states = tuned(parts_of(pieces, center, undecided(pattern, z)))
    loss, nearer = np.zeros(int(units.max()) + 1), np.zeros(int(units.max()) + 1)
    holders: dict[int, list[Tuned]] = {}
    for state in states:
        loss[state.part.names] += state.loss
        for unit in state.part.names.tolist():
            holders.setdefault(unit, []).append(state)
    while relief.any():
        nearer[:] = 0.0
        np.maximum.at(nearer, units, relief)
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = int(np.argmin(np.where(nearer > 0.0, loss / nearer, np.inf)))
        for state in holders[unit]:
            loss[state.part.names] -= state.loss
            state.prune(unit)
            loss[state.part.names] += state.loss
        gone = np.flatnonzero(z & (units == unit) & pattern.free)
        z[gone] = False
        sequence.append(gone)
        relief = pattern.relief(z)
    return z


def operations(size: LayerSize) -> Operations:
    """Of as many downdates of an inverse as a row has weights, in every row."""
    return Operations(double=DOWNDATES * size.rows * size.inputs**3)


SPEC = MethodSpec(
    name="greedy-obs",
    run=run,
    summary="prune one weight (or unit) at a time by w_i²/[H⁻¹]_ii, re-tuning after each",
    exact=False,
    objective=Objective.JOINT,
    reference="Frantar & Alistarh, NeurIPS 2022",
    patterns=(Pattern,),
    operations=operations,
)
