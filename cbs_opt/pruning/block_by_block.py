"""The blocks of a network one after the other: prune a block's layers, say how far its output is, refine it."""

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


class Solver(Protocol):
    """Prunes layers and keeps what became of them."""

    masks: dict[str, Mask]
    notes: list[str]

    def solve(self, layer: LayerModel) -> Matrix:
        """The new weights (out, in)."""
        ...

    def outcome(self, name: str) -> LayerOutcome:
        """What became of a layer."""
        ...

    def put(self, name: str, outcome: LayerOutcome) -> None:
        """What became of a layer elsewhere."""
        ...

    def reweigh(self, name: str, weights: Matrix) -> None:
        """Other weights (out, in) on a layer's mask."""
        ...


def block_by_block(
    sequence: SequentialLayers,
    solver: Solver,
    settings: Settings,
    clock: Clock,
    work: StageFolder | None = None,
    estimate: Sequence[float] | None = None,
) -> tuple[BlockReport, ...]:
    """Prune all layers of a sequence; what a work folder has of its first blocks is taken from there.

    Parameters
    ----------
    estimate : sequence of float, optional
        Seconds that each block will take, about; said before the first one that is to be pruned.
    """
    reports: list[BlockReport] = []
    pace = Pace([block.targets for block in sequence.blocks], estimate)
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
        sequence.notes.append(f"block {block.name}: was not refined, its output is not to be seen or is as it was")
    return BlockOutcome(
        layers={target.name: solver.outcome(target.name) for target in block.targets},
        report=None if error is None else BlockReport(block.name, error, refined),
        notes=(*sequence.notes[noted:], *solver.notes[told:]),
    )


class Pace:
    """How far the work is, and how long the rest of it will take.

    That is at the pace so far, by the seconds estimated for each block, or without an estimate by its weights; before
    the first block is done it is the estimate.
    """

    def __init__(self, blocks: Sequence[Sequence[Target]], estimate: Sequence[float] | None = None) -> None:
        self._weights = [sum(target.numel for target in block) for block in blocks]
        self._sizes: Sequence[float] = self._weights if estimate is None else estimate
        self._estimated = estimate is not None
        self._began, self._worked = time.perf_counter(), 0.0

    def beforehand(self, number: int) -> str:
        """'pruning 30 blocks, 106 million weights: about 25 min' where the block of this number is the first one."""
        left = len(self._weights) - number
        weights = sum(self._weights[number:])
        many = f"{weights / 1e6:.0f} million" if weights >= 1e7 else f"{weights:,}"
        return f"pruning {counted(left, 'block')}, {many} weights: {about(sum(self._sizes[number:]))}"

    def done(self, number: int) -> None:
        """The block of this number, counted from 0, is done."""
        self._worked += self._sizes[number]

    def words(self, number: int, done: bool = False) -> str:
        """'block 7 of 30, about 4 min left' where the block of this number comes next, or is done."""
        words = f"block {number + 1} of {len(self._sizes)}"
        if not self._worked and not self._estimated:
            return words
        pace = (time.perf_counter() - self._began) / self._worked if self._worked else 1.0
        return f"{words}, {about(pace * sum(self._sizes[number + done :]))} left"
