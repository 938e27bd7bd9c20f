"""Greedy OBS: prune one unit at a time, the cheapest first, and re-tune all others after each.

A unit is what the pattern keeps or prunes together (``Pattern.units``): a group of weights, or else a single weight.
With S the weights still kept, B = (H_SS)⁻¹ and w the re-tuned weights on S, pruning the unit P costs ½w_Pᵀ(B_PP)⁻¹w_P,
which is w_p²/(2B_pp) for a single weight. Then w and B are brought up to date (``unit_state``), which takes O(n²)
operations for a weight and O(kn²) for k of them. Hassibi & Stork, NIPS 1992; Frantar & Alistarh, Optimal Brain
Compression, NeurIPS 2022 (their ExactOBS); for groups Kurtić, Frantar & Alistarh, ZipLM, NeurIPS 2023.

The unit pruned next has the least cost divided by its relief, the part of the excess over the pattern's limits that
pruning it removes (``Pattern.relief``). Where the pattern counts weights or groups, the relief is the same for all
units that may go, and the cheapest goes. Under a budget the relief is in proportion to what the unit spends, so that
the loss for each unit of the budget counts, as in Dantzig's rule for knapsacks, which would be best if losses only
added and units could go in part. Several patterns at once are met together where they have the same units, else one
after the other, that with the most units first: 2:4 inside kept filters prunes to 2:4 everywhere and then whole
filters. In the end, whatever the pattern has room for after all is kept again.

The rows of a layer whose weights carry labels are pruned side by side; see ``greedy_rows``.
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
from cbs_opt.kernel.patterns.forced import forced
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.forms.unit_parts import Places, parts_of, pieces_of, undecided
from cbs_opt.solvers.heuristic.greedy_rows import prune_rows
from cbs_opt.solvers.heuristic.start import grown
from cbs_opt.solvers.heuristic.unit_state import Tuned, tuned

DOWNDATES = 15
"""For the estimate of work: operations that prune a row of d weights one by one, divided by d³."""


def run(problem: PruningProblem, *, device: str = "cpu") -> Outcome:
    """Prune one weight or unit after the other until the mask is in Z.

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
    """The greedy mask, shape (n,), to which the pattern would let no pruned unit be added; ties prune the lower unit.

    Parameters
    ----------
    pieces : sequence of (rows, H)
        The blocks of the curvature as ``unit_parts.pieces_of`` returns them; [(1, H)] for a dense H.
    center : array, shape (n,)
        The unconstrained minimizer H⁻¹b.
    pattern : Pattern
        The pattern Z.
    """
    z = pattern.free | forced(pattern)
    sequence: list[Places] = []
    for limits in _with_the_same_units(pattern.parts):
        z = _within(pieces, center, limits, z, sequence)
    return grown(pattern.contains, z, reversed(sequence))


def _with_the_same_units(patterns: Sequence[Pattern]) -> list[list[Pattern]]:
    """The patterns, grouped by their units: those with the most units come first."""
    alike: dict[bytes, list[Pattern]] = {}
    for pattern in patterns:
        # Units are named by their first weights, so that equal partitions compare as equal.
        _, first, number = np.unique(pattern.units, return_index=True, return_inverse=True)
        alike.setdefault(first[number.ravel()].tobytes(), []).append(pattern)
    return sorted(alike.values(), key=lambda limits: -len(np.unique(limits[0].units)))


def _within(
    pieces: Sequence[tuple[int, Matrix]], center: Vector, limits: Sequence[Pattern], z: Mask, sequence: list[Places]
) -> Mask:
    """``z`` with more units pruned until it is in all ``limits``; the weights pruned are appended to ``sequence``."""

    def relief_at(z: Mask) -> Vector:
        return np.asarray(sum((limit.relief(z) for limit in limits), np.zeros(len(z))))

    relief = relief_at(z)
    if not relief.any():
        return z
    pattern = limits[0]
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
        relief = relief_at(z)
    return z


def operations(size: LayerSize) -> Operations:
    """Operations of as many downdates of an inverse as a row has weights, in every row."""
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
