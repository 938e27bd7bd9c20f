"""The tree search that the branch-and-bound engines share; an engine adds the bound, the branching and the incumbents.

The tree is searched by dives, which follow the child that the engine prefers. Where a dive ends, the next one starts
from the open node with the lowest bound. Whenever the search stops, the incumbent is feasible and the lowest bound of
the open nodes and closed leaves is valid. Several threads may search a tree together (``team``).
"""

from __future__ import annotations

import copy
import heapq
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from cbs_opt.errors import InputError, PatternError
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.arrays.validate import as_mask, as_nonnegative
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome, TerminationCondition
from cbs_opt.kernel.words import counted
from cbs_opt.solvers.exact.team import HAND, ROUND, Team, team

OPEN_NODE = 500
"""Bytes that an open node takes beside its arrays."""
REPORT_EVERY = 0.25
"""Seconds between two calls of the progress callback."""
MOST_THREADS = 256
"""Threads at the most."""

Progress = Callable[[int, float, float], object]
"""``progress(nodes, incumbent, bound)``: called with the number of processed nodes, the loss of the best mask and the
proven bound so far, both in the units of f. What it returns plays no part; where it raises ``StopIteration``, the
search ends with that mask and bound."""


class OpenNode(Protocol):
    """What the search needs to know of an open node: a valid bound, and its order in the queue (by bound, then age)."""

    @property
    def bound(self) -> float: ...

    def __lt__(self, other: Any, /) -> bool: ...


Node = TypeVar("Node", bound=OpenNode)


class TreeSearch(ABC, Generic[Node]):
    """Open nodes on a heap, the node of the dive, the incumbent, counters. Values are in units of the engine's choice.

    An engine sets ``mask`` and pushes its root in ``__init__``, and keeps these up to date:

    _value      the value of the incumbent
    _cutoff     nodes whose bound is not below it are dropped; at most ``_value``
    _closed     the lowest of the bounds of closed leaves, each its value less round-off
    """

    mask: Mask
    shared_from = 1
    """Several threads take part from this number of nodes on."""

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._value = self._cutoff = self._closed = math.inf
        self._heap: list[Node] = []
        self._dive: Node | None = None
        self._lent: list[Node] = []
        self.nodes = 0

    @abstractmethod
    def in_units_of_f(self, value: float) -> float:
        """``value`` in the units of f, rounded down so that a bound stays one."""

    @abstractmethod
    def offer(self, mask: Mask) -> None:
        """Take ``mask``, or what a local search from it finds, as the incumbent if it is better."""

    @abstractmethod
    def branch(self, node: Node) -> tuple[Node, Node] | None:
        """Bound ``node``: None where it is fathomed or closed as a leaf, else its two children, that of the dive first.

        ``node`` counts as open until this returns, so that an interrupt loses nothing.
        """

    def bound(self) -> float:
        """The lower bound proven so far, in the units of f; it is valid at any moment, within a node as between two."""
        return self.in_units_of_f(self._proven())

    def _proven(self) -> float:
        """The lower bound proven so far, in the units of the engine."""
        lowest = min(self._cutoff, self._value, self._closed)
        if self._heap:
            lowest = min(lowest, self._heap[0].bound)
        if self._dive is not None:
            lowest = min(lowest, self._dive.bound)
        for node in self._lent:
            lowest = min(lowest, node.bound)
        return max(lowest, self._floor)

    def begin_anew(self, root: Node) -> None:
        """Drop all open nodes and go on from ``root``, whose subtree holds them all; the bound proven so far stays."""
        self._floor = self._proven()
        self._dive = root  # set before the others are dropped, so that an interrupt finds the one or the others open
        self._heap.clear()

    @property
    def open_nodes(self) -> int:
        """The number of nodes that wait on the heap."""
        return len(self._heap)

    def explore(
        self,
        time_limit: float | None,
        node_limit: int | None,
        most_open: int,
        progress: Progress | None,
        threads: int = 1,
    ) -> TerminationCondition:
        """Process nodes until none can hold a better mask, or until a limit, ``progress`` or Ctrl-C ends the search.

        Parameters
        ----------
        time_limit : float or None
            Seconds; None for no limit.
        node_limit : int or None
            Nodes to process at the most; None for no limit.
        most_open : int
            Open nodes at which the search stops.
        progress : callable or None
            Called every ``REPORT_EVERY`` seconds.
        threads : int
            Threads that search together.
        """
        started = reported = time.perf_counter()
        deadline = math.inf if time_limit is None else started + time_limit
        try:
            with team(threads) as several:
                while self._select():
                    now = time.perf_counter()
                    if now >= deadline:
                        return TerminationCondition.TIME_LIMIT
                    if (node_limit is not None and self.nodes >= node_limit) or len(self._heap) >= most_open:
                        return TerminationCondition.ITERATION_LIMIT
                    if progress is not None and now - reported >= REPORT_EVERY:
                        if self._told_to_stop(progress):
                            return TerminationCondition.STOPPED
                        reported = now
                    if several is None or self.nodes < self.shared_from or not self._heap:
                        self._process()
                    else:
                        self._share(several, deadline, node_limit)
        except KeyboardInterrupt:
            return TerminationCondition.INTERRUPTED
        return TerminationCondition.CONVERGED

    def _told_to_stop(self, progress: Progress) -> bool:
        """Call ``progress``; returns whether it asks the search to end."""
        try:
            progress(self.nodes, self.in_units_of_f(self._value), self.bound())
        except StopIteration:
            return True
        return False

    def _share(self, several: Team, deadline: float, node_limit: int | None) -> None:
        """Make one round: deal the node of the dive and the best of the heap to one search for each thread."""
        left = math.inf if node_limit is None else node_limit - self.nodes
        each = int(max(1, min(ROUND, left // several.threads)))
        # Nodes are entered in the list of lent ones before they leave their place, so that an interrupt loses none.
        assert self._dive is not None, "selected before"
        self._lent.append(self._dive)
        self._dive = None
        members = int(min(several.threads, left, 1 + len(self._heap)))
        while self._heap and len(self._lent) < HAND * members:
            self._lent.append(self._heap[0])
            heapq.heappop(self._heap)
        searches = [self._of(self._lent[place::members], self.nodes + place * each) for place in range(members)]

        def work(one: TreeSearch[Node], stop: threading.Event) -> None:
            last = one.nodes + each
            while one.nodes < last and not stop.is_set() and time.perf_counter() < deadline and one._select():
                one._process()

        before = self.nodes
        try:
            several.round(work, searches)
        finally:
            several.rest()
            for place, one in enumerate(searches):
                self.nodes += one.nodes - (before + place * each)
                self._learn(one)
        # This is not reached where the round was interrupted: then the lent nodes stay open as they were.
        for one in searches:
            for node in one._heap if one._dive is None else [*one._heap, one._dive]:
                heapq.heappush(self._heap, node)
        self._lent = []

    def _of(self, open_nodes: list[Node], nodes: int) -> TreeSearch[Node]:
        """A search of the subtrees of ``open_nodes`` with all that is known here; it counts nodes from ``nodes``."""
        one = copy.copy(self)
        one._dive, *one._heap = open_nodes
        heapq.heapify(one._heap)
        one._lent, one.nodes = [], nodes
        return one

    def _learn(self, one: Any) -> None:
        """Take over what a search ``one`` of subtrees has found: a better incumbent, and the bounds of its leaves."""
        if one._value < self._value:
            self.mask, self._value = one.mask, one._value
        self._cutoff = min(self._cutoff, one._cutoff)
        self._closed = min(self._closed, one._closed)

    def _select(self) -> bool:
        """Choose the node to work on: that of the dive, or the open one of lowest bound; False if the tree is done."""
        if self._dive is not None and self._dive.bound >= self._cutoff:
            self._dive = None
        if self._dive is None and self._heap:
            # The node is assigned before it leaves the heap, so that an interrupt in between does not lose it.
            self._dive = self._heap[0]
            heapq.heappop(self._heap)
            if self._dive.bound >= self._cutoff:
                # This was the lowest bound of all open nodes, so that none is left below the cutoff.
                self._heap.clear()
                self._dive = None
        return self._dive is not None

    def _process(self) -> None:
        """Process the node of the dive; the dive ends there, or goes on with one child while the other is queued."""
        assert self._dive is not None, "selected before"
        self.nodes += 1
        children = self.branch(self._dive)
        if children is None:
            self._dive = None
            return
        heapq.heappush(self._heap, children[1])
        self._dive = children[0]


def checked_time_limit(time_limit: float | None) -> float | None:
    """Check a time limit in seconds; None or infinity stand for none. Raises InputError for any other wrong value."""
    if time_limit is None or time_limit == math.inf:
        return time_limit
    return as_nonnegative(time_limit, "time_limit")


def checked_threads(threads: int) -> int:
    """Check a number of threads; raises InputError unless it is a whole number from 1 to ``MOST_THREADS``."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
        raise InputError(f"threads: is {threads!r}; a whole number from 1 to {MOST_THREADS} is needed")
    return threads


def search(
    tree: TreeSearch[Any],
    problem: PruningProblem,
    *,
    bytes_per_node: int,
    time_limit: float | None,
    node_limit: int | None,
    memory_limit: float,
    start: Any,
    progress: Progress | None,
    threads: int = 1,
) -> Outcome:
    """Offer the mask ``start`` to the engine ``tree``, explore it within the limits, and return the outcome.

    Parameters
    ----------
    bytes_per_node : int
        Size of the arrays of an open node.
    time_limit, node_limit, progress, threads
        As for ``TreeSearch.explore``; ``progress`` is called once more at the end.
    memory_limit : float
        About how many bytes open nodes may take.
    start : boolean array, shape (n,), or None
        A mask in Z.

    Raises
    ------
    PatternError
        ``start`` is not in Z.
    """
    if start is not None:
        mask = as_mask(start, "start", problem.n)
        if not problem.Z.contains(mask):
            raise PatternError(f"start: keeps {int(mask.sum())} weights and is outside the pattern ({problem.Z})")
        tree.offer(mask)
    most_open = int(memory_limit / (OPEN_NODE + bytes_per_node))
    termination = tree.explore(time_limit, node_limit, most_open, progress, threads)
    notes: tuple[str, ...] = ()
    if termination is TerminationCondition.STOPPED:
        notes = (f"stopped by its progress callback after {counted(tree.nodes, 'node')}",)
    elif progress is not None and termination is not TerminationCondition.INTERRUPTED:
        tree._told_to_stop(progress)
    if termination is TerminationCondition.ITERATION_LIMIT and tree.open_nodes >= most_open:
        notes = (f"stopped at {tree.open_nodes:,} open nodes, the memory limit of {memory_limit:.3g} bytes",)
    return Outcome(tree.mask, tree.bound(), termination, tree.nodes, notes)
