"""Decides which activations are kept at each point, so that the next run goes on from there, if they fit the memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cbs_opt.collect.block_layers import BlockLayers
from cbs_opt.collect.plan import Kept, Plan, Point
from cbs_opt.collect.replay import Replay
from cbs_opt.network.inputs import Inputs


class Keeping:
    """What is kept at each point, within a limit of memory.

    Parameters
    ----------
    plan : Plan
        The course of the network on ``planned`` samples.
    needed : mapping of Point to set of Kept or None
        As ``needed_at`` returns it; empty if nothing is to be kept.
    planned, samples : int
        How many samples the plan was made with, and how many are run.
    streams : int
        The number of networks whose activations are kept: 1 for the pruned one alone, 2 for the dense one as well.
    memory : float
        The most bytes of activations that may be kept.
    """

    def __init__(
        self,
        plan: Plan,
        needed: Mapping[Point, frozenset[Kept] | None],
        *,
        planned: int,
        samples: int,
        streams: int,
        memory: float,
    ) -> None:
        self._plan, self._needed, self._memory = plan, needed, memory
        self._planned, self._samples, self._streams = planned, samples, streams
        self._beside = 0  # bytes kept of the block that is watched

    def watch(self, block: str | None) -> None:
        """From now on count the inputs and outputs of this block as kept, too; None for no block."""
        call = None if block is None else self._plan.calls[block]
        self._beside = 0 if call is None else (call.given + call.bytes) * self._samples // self._planned

    def at(self, point: Point, notes: list[str]) -> frozenset[Kept]:
        """What to keep at this point, so that the next run can go on from here.

        If that is impossible or does not fit, it is nothing, and ``notes`` gets a sentence about it.
        """
        if point not in self._needed:
            return frozenset()
        needed = self._needed[point]
        if needed is None:
            notes.append(
                f"layer {point.name}: the network cannot go on from here (it changes in place what a "
                "module returned, or is random); the next layer's inputs are computed from scratch"
            )
            return frozenset()
        size = self._size(needed)
        if size > self._memory:
            notes.append(
                f"layer {point.name}: the activations kept at it ({size / 1e9:.2g} GB) exceed "
                f"{self._memory / 1e9:.2g} GB; the next layer's inputs are computed from scratch"
            )
            return frozenset()
        return needed

    def goes_on_from(self, point: Point) -> bool:
        """Whether the next run will go on from this point."""
        needed = self._needed.get(point)
        return needed is not None and self._size(needed) <= self._memory

    def _size(self, needed: frozenset[Kept]) -> int:
        """How many bytes ``needed`` takes for all samples, with what is kept of the watched block."""
        return self._plan.size(needed) * self._samples * self._streams // self._planned + self._beside


def needed_at(
    network: Replay, plan: Plan, sample: Inputs, blocks: Sequence[BlockLayers]
) -> dict[Point, frozenset[Kept] | None]:
    """What to keep at each point but the last; None at a layer from which the network cannot go on.

    The points are the layers, and the end of each block that is called once and returns before the next block's
    layers, if its output can be kept, is of the same tokens in both networks, and allows the network to go on. Such an
    end is stored as the block's ``end``.

    Parameters
    ----------
    network : Replay
        The network, with the weights that the plan was made with.
    plan : Plan
        Made with ``sample``; it still has its tensors.
    sample : Inputs
        What the plan was made with.
    blocks : sequence of BlockLayers
        The blocks in the order of execution.
    """
    needed: dict[Point, frozenset[Kept] | None] = {}
    following: Point | None = None
    then: frozenset[Kept] | None = frozenset()
    for block in reversed(blocks):
        end, last = Point(block.name, returned=True), Point(block.targets[-1].name)
        comparable = end.name in plan.values and end not in plan.routed
        before = math.inf if following is None else plan.time(following)
        if comparable and plan.time(last) < plan.time(end) < before:
            found = frozenset[Kept]()
            if following is not None:
                found = network.needed(plan, sample, end, following, then or frozenset()) or frozenset()
            if following is None or found:
                block.end, following, then, needed[end] = end, end, found, found
        for stop in reversed(block.stops):
            point = Point(stop[0].name)
            if following is not None:
                then = needed[point] = network.needed(plan, sample, point, following, then or frozenset())
            following = point
    return needed
