"""The tree search that the branch-and-bound engines share; they bring the bound, the branching and the incumbents.

The tree is searched by dives (the child an engine prefers) and, where a dive ends, from the node with the lowest
bound. Whenever the search stops, the incumbent is feasible and the lowest bound of the open nodes is valid.
"""

from __future__ import annotations

import heapq
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from cbs_opt.errors import PatternError
from cbs_opt.problem import PruningProblem
from cbs_opt.result import Outcome, TerminationCondition
from cbs_opt.validate import Mask, as_mask, as_nonnegative

OPEN_NODE = 500
"""Bytes of an open node beside its arrays."""
REPORT_EVERY = 0.25
"""Seconds between two calls of the progress callback."""

Progress = Callable[[int, float, float], None]


class OpenNode(Protocol):
    """What a tree needs to know of a node: a valid bound, and its place in the queue (by bound, then by age)."""

    @property
    def bound(self) -> float: ...

    def __lt__(self, other: Any, /) -> bool: ...


Node = TypeVar("Node", bound=OpenNode)


class TreeSearch(ABC, Generic[Node]):
    """Open nodes on a heap, the node of the dive, the incumbent, counters. Values are in units of the engine's choice.

    An engine sets ``mask`` and pushes its root in ``__init__``, and keeps these up to date:

    _value      what the incumbent is worth
    _cutoff     nodes that cannot get below it are of no interest; at most ``_value``
    _closed     the lowest bound of the closed leaves, their round-off subtracted
    """

    mask: Mask

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._value = self._cutoff = self._closed = math.inf
        self._heap: list[Node] = []
        self._dive: Node | None = None
        self.nodes = 0

    @abstractmethod
    def in_units_of_f(self, value: float) -> float:
        """A ``value`` in the units of f, and from below."""

    @abstractmethod
    def offer(self, mask: Mask) -> None:
        """Take ``mask``, or what a local search from it finds, as the incumbent if it is better."""

    @abstractmethod
    def branch(self, node: Node) -> tuple[Node, Node] | None:
        """Bound ``node``. None where it is fathomed or closed as a leaf; else its children, the one to dive into first.

        Called with ``node`` still open, so that an interrupt loses nothing.
        """

    def bound(self) -> float:
        """A valid lower bound, in the units of f, at any moment (between two nodes or within one)."""
        lowest = min(self._cutoff, self._value, self._closed)
        if self._heap:
            lowest = min(lowest, self._heap[0].bound)
        if self._dive is not None:
            lowest = min(lowest, self._dive.bound)
        return self.in_units_of_f(max(lowest, self._floor))

    @property
    def open_nodes(self) -> int:
        """Nodes that wait on the heap."""
        return len(self._heap)

    def explore(
        self, time_limit: float | None, node_limit: int | None, most_open: int, progress: Progress | None
    ) -> TerminationCondition:
        """Process nodes until none can beat the incumbent, or a limit or Ctrl-C ends it."""
        started = reported = time.perf_counter()
        try:
            while self._select():
                now = time.perf_counter()
                if time_limit is not None and now - started >= time_limit:
                    return TerminationCondition.TIME_LIMIT
                if (node_limit is not None and self.nodes >= node_limit) or len(self._heap) >= most_open:
                    return TerminationCondition.ITERATION_LIMIT
                if progress is not None and now - reported >= REPORT_EVERY:
                    progress(self.nodes, self.in_units_of_f(self._value), self.bound())
                    reported = now
                self._process()
        except KeyboardInterrupt:
            return TerminationCondition.INTERRUPTED
        return TerminationCondition.CONVERGED

    def _select(self) -> bool:
        """Have a node to work on: the dive goes on, or starts anew at the lowest bound. False: the tree is done."""
        if self._dive is not None and self._dive.bound >= self._cutoff:
            self._dive = None
        if self._dive is None and self._heap:
            # Assigned before it leaves the heap: an interrupt in between must not lose it.
            self._dive = self._heap[0]
            heapq.heappop(self._heap)
            if self._dive.bound >= self._cutoff:
                # The lowest bound of all: nothing is left below the cutoff.
                self._heap.clear()
                self._dive = None
        return self._dive is not None

    def _process(self) -> None:
        """Work on the node of the dive; the dive ends with it, or goes on with one child while the other waits."""
        assert self._dive is not None, "selected before"
        self.nodes += 1
        children = self.branch(self._dive)
        if children is None:
            self._dive = None
            return
        heapq.heappush(self._heap, children[1])
        self._dive = children[0]


def checked_time_limit(time_limit: float | None) -> float | None:
    """``time_limit`` in seconds; None or infinity for none."""
    if time_limit is None or time_limit == math.inf:
        return time_limit
    return as_nonnegative(time_limit, "time_limit")


def search(
    tree: TreeSearch[Any],
    problem: PruningProblem,
    *,
    bytes_per_weight: int,
    time_limit: float | None,
    node_limit: int | None,
    memory_limit: float,
    start: Any,
    progress: Progress | None,
) -> Outcome:
    """Offer the mask ``start``, explore ``tree`` within the limits, and say how it ended.

    Parameters
    ----------
    bytes_per_weight : int
        Size of the arrays of an open node, over n.
    """
    if start is not None:
        mask = as_mask(start, "start", problem.n)
        if not problem.Z.contains(mask):
            raise PatternError(f"start: keeps {int(mask.sum())} weights and is outside the pattern ({problem.Z})")
        tree.offer(mask)
    most_open = int(memory_limit / (OPEN_NODE + bytes_per_weight * problem.n))
    termination = tree.explore(time_limit, node_limit, most_open, progress)
    notes: tuple[str, ...] = ()
    if termination is TerminationCondition.ITERATION_LIMIT and tree.open_nodes >= most_open:
        notes = (f"stopped at {tree.open_nodes:,} open nodes, the memory limit of {memory_limit:.3g} bytes",)
    return Outcome(tree.mask, tree.bound(), termination, tree.nodes, notes)
