"""Prunes the blocks of a network one after the other.

In each block it prunes the layers, compares the block's output with that of the dense network's block, and refines the
kept weights if that is asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from cbs_opt.collect import LayerModel, SequentialLayers
from cbs_opt.collect.block_layers import BlockLayers
from cbs_opt.kernel.arrays.types import Mask, Matrix
from cbs_opt.kernel.words import counted
from cbs_opt.network.targets import Target
from cbs_opt.pruning.estimate import about
from cbs_opt.pruning.refine import refine
from cbs_opt.pruning.result import BlockReport
from cbs_opt.pruning.stage import BlockOutcome, Clock, LayerOutcome
from cbs_opt.pruning.work import StageFolder

if TYPE_CHECKING:
    from cbs_opt.pruning.settings import Settings

log = logging.getLogger("cbs_opt")

TRUSTED = 0.03
"""From this share of the work on, the time that it took says how long the rest will take: less than one of 32 equal
blocks."""


class Solver(Protocol):
    """What prunes one layer after the other and keeps the outcome of each."""

    masks: dict[str, Mask]
    notes: list[str]

    def solve(self, layer: LayerModel) -> Matrix:
        """Prune a layer and return its new weights (out, in)."""
        ...

    def outcome(self, name: str) -> LayerOutcome:
        """The outcome of a layer that was pruned."""
        ...

    def put(self, name: str, outcome: LayerOutcome) -> None:
        """Take over the outcome of a layer that an earlier run pruned."""
        ...

    def reweigh(self, name: str, weights: Matrix) -> None:
        """Replace the weights (out, in) of a layer that was pruned; its mask stays."""
        ...


def block_by_block(
    sequence: SequentialLayers,
    solver: Solver,
    settings: Settings,
    clock: Clock,
    work: StageFolder | None = None,
    estimate: Sequence[float] | None = None,
) -> tuple[BlockReport, ...]:
    """Prune all layers of a sequence, block by block; returns a report for each block whose output could be compared.

    Parameters
    ----------
    work : StageFolder, optional
        Blocks whose outcome is in this folder are taken from there; the outcome of every other block is kept in it.
    estimate : sequence of float, optional
        About how many seconds each block will take; their sum is announced before the first block is pruned.
    """
    reports: list[BlockReport] = []
    pace = Pace([block.targets for block in sequence.blocks], estimate, whole=not settings.bound)
    said = estimate is None
    for number, block in enumerate(sequence.blocks):
        outcome = None if work is None else work.load(number, [target.name for target in block.targets])
        if outcome is None:
            if not said:
                words = pace.beforehand(number) + (", bounds not counted" if settings.bound else "")
                clock.tell(words)
                log.info("prune: %s", words)
                said = True
            watched = block.watched() if settings.refine else nullcontext()
            with clock.part(pace.words(number)), watched:
                outcome = _prune(block, sequence, solver, settings, clock)
            pace.done(number)
            if work is not None:
                work.keep(number, outcome)
        else:
            for target in block.targets:
                solver.put(target.name, outcome.layers[target.name])
                sequence.replace(target, outcome.layers[target.name].weights)
            sequence.notes += outcome.notes
        if outcome.report is not None:
            reports.append(outcome.report)
            log.info("prune: %s, %s: %s", pace.words(number, done=True), block.name, outcome.report.words())
    return tuple(reports)


def _prune(
    block: BlockLayers, sequence: SequentialLayers, solver: Solver, settings: Settings, clock: Clock
) -> BlockOutcome:
    noted, told = len(sequence.notes), len(solver.notes)
    remaining = iter(block)
    while True:
        with clock.phase("curvature", f"collecting the inputs of {block.name}"):
            layer = next(remaining, None)
        if layer is None:
            break
        sequence.replace(layer, solver.solve(layer))
    goals: list[Any] | None = [] if settings.refine else None
    with clock.phase("curvature", f"comparing the output of {block.name}"):
        error = block.error(goals)
    refined = None
    if goals is not None and error:
        with clock.phase("refinement", f"refining {block.name}"):
            masks = {target.name: solver.masks[target.name] for target in block.targets}
            found = refine(block, goals, masks, error, settings.refine, settings.seed)
        refined = found.error
        for name, weights in found.weights.items():
            solver.reweigh(name, weights)
    elif settings.refine:
        sequence.notes.append(
            f"block {block.name}: was not refined, its output cannot be compared or is that of the dense block already"
        )
    return BlockOutcome(
        layers={target.name: solver.outcome(target.name) for target in block.targets},
        report=None if error is None else BlockReport(block.name, error, refined),
        notes=(*sequence.notes[noted:], *solver.notes[told:]),
    )


class Pace:
    """Says in words how far the work is, and about how long the remaining blocks will take.

    Until ``TRUSTED`` of the work is done, that is the estimate, if it is one of the whole work: a first block that is
    small took most of its time for what is done once, like compiling. Afterwards it is what the blocks so far took,
    scaled by the seconds estimated for the remaining blocks or, without an estimate, by their numbers of weights.

    Parameters
    ----------
    blocks : sequence of sequences of Target
        The layers of each block.
    estimate : sequence of float, optional
        About how many seconds each block will take.
    whole : bool
        Whether the estimate is of all that is done; otherwise (bounds are not counted) it says how the blocks compare.
    """

    def __init__(
        self, blocks: Sequence[Sequence[Target]], estimate: Sequence[float] | None = None, whole: bool = True
    ) -> None:
        self._weights = [sum(target.numel for target in block) for block in blocks]
        self._sizes: Sequence[float] = self._weights if estimate is None else estimate
        self._estimated = estimate is not None and whole
        self._began, self._worked = time.perf_counter(), 0.0

    def beforehand(self, number: int) -> str:
        """'pruning 30 blocks, 106 million weights: about 25 min', if block ``number`` is the first to be pruned."""
        left = len(self._weights) - number
        weights = sum(self._weights[number:])
        many = f"{weights / 1e6:.0f} million" if weights >= 1e7 else f"{weights:,}"
        return f"pruning {counted(left, 'block')}, {many} weights: {about(sum(self._sizes[number:]))}"

    def done(self, number: int) -> None:
        """Note that block ``number``, counted from 0, is done."""
        self._worked += self._sizes[number]

    def words(self, number: int, done: bool = False) -> str:
        """'block 7 of 30, about 4 min left', if block ``number`` comes next, or, with ``done``, has just been done."""
        words = f"block {number + 1} of {len(self._sizes)}"
        trusted = self._worked > TRUSTED * sum(self._sizes)
        if not trusted and not self._estimated:
            return words
        pace = (time.perf_counter() - self._began) / self._worked if trusted else 1.0
        return f"{words}, {about(pace * sum(self._sizes[number + done :]))} left"
