"""What is kept of the activations at each stop, so that the next run goes on from there, as far as it fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cbs_opt.collect.block_layers import BlockLayers
from cbs_opt.collect.plan import Kept, Plan, Point
from cbs_opt.collect.replay import Replay
from cbs_opt.network.inputs import Inputs


class Keeping:
    """How much of each stop may be kept.

    Parameters
    ----------
    plan : Plan
        The course of the network on ``planned`` samples.
    needed : mapping of Point to set of Kept or None
        As ``needed_at`` returns it; empty where nothing shall be kept.
    planned, samples : int
        How many samples the plan was made with, and how many are run.
    streams : int
        Networks whose activations are kept: the pruned one, or the dense one as well.
    memory : float
        Most bytes of activations kept.
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
        """Count what a block is called with and what it answers as kept, too, from now on; None: no block."""
        call = None if block is None else self._plan.calls[block]
        self._beside = 0 if call is None else (call.given + call.bytes) * self._samples // self._planned

    def at(self, point: Point, notes: list[str]) -> frozenset[Kept]:
        """What to keep at this point, so that the next run can go on from here.

        Nothing where that is impossible or does not fit, which is added to ``notes``.
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
        """Bytes of what is kept of all samples, of the block that is watched as well."""
        return self._plan.size(needed) * self._samples * self._streams // self._planned + self._beside


def needed_at(
    network: Replay, plan: Plan, sample: Inputs, blocks: Sequence[BlockLayers]
) -> dict[Point, frozenset[Kept] | None]:
    """What to keep at each point but the last; None where the network cannot go on from a layer.

    The end of a block is a point where the block is called once and returns before the next one's layers, what it
    answers can be kept and is of the same tokens in both networks, and the network can go on from there; it is put
    down as the block's ``end``.

    Parameters
    ----------
    network : Replay
        With the weights that the plan was made with.
    plan : Plan
        Made with ``sample``, its tensors not forgotten.
    blocks : sequence of BlockLayers
        In the order of execution.
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
