"""Branch and bound on the perspective bound (B): the joint problem, proven.

A node fixes weights to be kept or pruned; ``bnb_kernels.process`` reduces it, bounds it with a splitting
inherited and re-improved, and screens it. The tree is searched by dives (keep the branching weight) and,
where a dive ends, from the node with the lowest bound. Whenever it stops, the incumbent is feasible and
the lowest bound of the open nodes is valid.

References: bound (B) is the perspective reformulation of Frangioni & Gentile, Mathematical Programming 106
(2006), in dual form with a diagonal splitting; Hazimeh, Mazumder & Saab, Mathematical Programming 196
(2022), branch and bound on it by coordinate descent for sparse regression.
"""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import PatternError
from cbs_opt.patterns import Cardinality
from cbs_opt.problem import PruningProblem
from cbs_opt.registry import MethodSpec, Objective
from cbs_opt.result import GAP_TOLERANCE, Outcome, TerminationCondition
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.heuristic import greedy_obs, swap
from cbs_opt.update import obs_update
from cbs_opt.validate import Mask, Vector, as_mask, as_nonnegative

ROOT_ROUNDS = 40
NODE_ROUNDS = 1
PASSES = 1
RESTARTS = (30, 300, 3000)
"""After so many nodes local searches are started anew, ``SEARCHES`` of them, from perturbed relaxed points."""
SEARCHES = 10
OPEN_NODE = 500
"""Bytes of an open node beside its 17 a weight (state, splitting, warm start)."""
REPORT_EVERY = 0.25
"""Seconds between two calls of the progress callback."""

log = logging.getLogger("cbs_opt")

Progress = Callable[[int, float, float], None]


def run(
    problem: PruningProblem,
    *,
    gap: float = GAP_TOLERANCE,
    time_limit: float | None = None,
    node_limit: int | None = None,
    memory_limit: float = 2e9,
    start: Any = None,
    progress: Progress | None = None,
    record: Callable[[NodeRecord], None] | None = None,
) -> Outcome:
    """Search until the gap is closed or a limit is reached.

    Parameters
    ----------
    gap : float
        Relative gap at which the search ends.
    time_limit : float, optional
        Seconds.
    node_limit : int, optional
    memory_limit : float
        Bytes that open nodes may take, about; the search stops there and says so.
    start : boolean array, shape (n,), optional
        A mask in Z to begin with, beside the one of greedy OBS.
    progress : callable, optional
        ``progress(nodes, incumbent, bound)``, in the units of f, a few times a second.
    record : callable, optional
        Called with every processed node. Screened nodes are then not reduced a second time at once, so
        that each record stands for one bound.
    """
    gap = as_nonnegative(gap, "gap")
    if time_limit is not None and time_limit != math.inf:
        time_limit = as_nonnegative(time_limit, "time_limit")
    search = _Search(problem, gap, record)
    if start is not None:
        mask = as_mask(start, "start", problem.n)
        if not problem.Z.contains(mask):
            raise PatternError(f"start: keeps {int(mask.sum())} weights and is outside the pattern ({problem.Z})")
        search.offer(mask)
    most_open = int(memory_limit / (OPEN_NODE + 17 * problem.n))
    termination = search.explore(time_limit, node_limit, most_open, progress)
    notes: tuple[str, ...] = ()
    if termination is TerminationCondition.ITERATION_LIMIT and search.open_nodes >= most_open:
        notes = (f"stopped at {search.open_nodes:,} open nodes, the memory limit of {memory_limit:.3g} bytes",)
    return Outcome(search.mask, search.bound(), termination, search.nodes, notes)


def root_state(problem: PruningProblem, block: CenteredBlock) -> tuple[NDArray[np.int8], Vector, int]:
    """What the pattern fixes from the start, a first splitting, and how many weights may be kept."""
    from cbs_opt.solvers.exact.bnb_kernels import KEPT, PRUNED

    pattern = problem.Z
    assert isinstance(pattern, Cardinality), "checked by the method's spec"
    state = np.zeros(problem.n, dtype=np.int8)
    state[pattern.keep] = KEPT
    state[pattern.forbid] = PRUNED
    smallest = float(np.linalg.eigvalsh(block.H)[0])
    return state, np.full(problem.n, max(0.9 * smallest, 1e-15)), problem.n - pattern.prune


@cache
def prepare() -> None:
    """Load the compiled kernels; where that was never done, say that they are compiled first."""
    from cbs_opt.solvers.exact.bnb_kernels import process

    notice = "compiling the branch-and-bound kernels, once per installation …"
    cache_path = process.stats.cache_path  # None where there is no folder to keep compiled code in
    compiled = cache_path is not None and any(Path(cache_path).glob("bnb_kernels.process-*.nbi"))
    # An index that is there may still be of an older version: then the notice comes when it takes long.
    timer = threading.Timer(5.0 if compiled else 0.0, log.warning, [notice])
    timer.daemon = True
    timer.start()
    try:
        run(PruningProblem(np.arange(1.0, 5.0), np.eye(4) + 0.5, pattern=Cardinality(4, 2)))
    finally:
        timer.cancel()


@dataclass(frozen=True, slots=True, eq=False)
class NodeRecord:
    """One processed node, for a log or a certificate. Arrays are (n,), D and w in the units of ``CenteredBlock``.

    ``before`` and ``after`` say what is FREE, KEPT or PRUNED before and after screening; on the weights free in
    ``before``, D and w are the splitting and the point whose bound (B) fathoms the node or justifies what
    screening fixed. ``cutoff`` is the value, relative to f at the block's c, that solutions of interest lie below.
    """

    index: int
    parent: int
    before: NDArray[np.int8]
    after: NDArray[np.int8]
    D: Vector
    w: Vector
    bound: float
    cutoff: float
    outcome: int
    branch: int


class _Node(NamedTuple):
    """An open node: a valid bound, its age, its parent, what is fixed, and a warm start."""

    bound: float
    age: int
    parent: int
    state: NDArray[np.int8]
    D: Vector
    w: Vector
    tau: float
    share: float


class _Search:
    """The tree of one problem: open nodes on a heap, incumbent, counters. Values are in the block's units."""

    def __init__(self, problem: PruningProblem, gap: float, record: Callable[[NodeRecord], None] | None) -> None:
        self._record = record
        self._problem = problem
        self._free = problem.Z.free
        self._gap = gap
        self._block = CenteredBlock.of(problem)
        self._weight = self._block.H.diagonal()
        self._rank = self._value = self._cutoff = self._closed = math.inf
        self.nodes = 0
        state, D, self._budget = root_state(problem, self._block)
        self.mask = greedy_obs.run(problem).mask
        self.offer(self.mask)
        self._heap = [_Node(0.0, 0, -1, state, D, self._block.c, -1.0, 1.0)]
        self._dive: _Node | None = None

    def bound(self) -> float:
        """A valid lower bound, in the units of f, at any moment (between two nodes or within one)."""
        lowest = min(self._cutoff, self._value, self._closed)
        if self._heap:
            lowest = min(lowest, self._heap[0].bound)
        if self._dive is not None:
            lowest = min(lowest, self._dive.bound)
        return self._block.bound(max(lowest, 0.0))

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
                    progress(self.nodes, self._block.bound(self._value), self.bound())
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
        """Bound the node of the dive; fathom it, close it as a leaf, or branch and go on with one child."""
        from cbs_opt.solvers.exact.bnb_kernels import BRANCH, KEPT, LEAF, PRUNED, process

        node = self._dive
        assert node is not None, "selected before"
        self.nodes += 1
        state, D, w = node.state.copy(), node.D.copy(), node.w.copy()
        outcome, bound, tau, share, branch = process(
            self._block.H, self._block.c, state, D, w, node.tau, node.share, self._budget, self._cutoff,
            ROOT_ROUNDS if self.nodes == 1 else NODE_ROUNDS, 0 if self._record else PASSES,
        )  # fmt: skip
        if self._record:
            self._record(
                NodeRecord(
                    self.nodes - 1, node.parent, node.state, state, D, w, bound, self._cutoff, outcome, branch
                )
            )
        bound = max(bound, node.bound)
        if outcome == LEAF:
            self._close(state == KEPT, bound)
        if outcome != BRANCH:
            self._dive = None
            return
        self.offer(self._rounded(state, w))
        if self.nodes in RESTARTS:
            generator = np.random.default_rng(self.nodes)
            for _ in range(SEARCHES):
                blurred = w * np.exp(generator.normal(size=len(w)))
                self.offer(swap.improve(self._block.H, self._block.c, self._rounded(node.state, blurred), self._free))
        children = []
        for side in (KEPT, PRUNED):
            child = state.copy()
            child[branch] = side
            children.append(_Node(bound, self.nodes, self.nodes - 1, child, D, w, tau, share))
        heapq.heappush(self._heap, children[1])
        self._dive = children[0]

    def _rounded(self, state: NDArray[np.int8], w: Vector) -> Mask:
        """The relaxed point's largest w_i²H_ii, as many as the node may still keep."""
        from cbs_opt.solvers.exact.bnb_kernels import FREE, KEPT

        mask: Mask = state == KEPT
        free = np.flatnonzero(state == FREE)
        room = self._budget - int(mask.sum())
        order = np.argsort(-(w[free] ** 2 * self._weight[free]), kind="stable")
        mask[free[order[:room]]] = True
        return mask

    def _close(self, mask: Mask, bound: float) -> None:
        """Offer the one mask of a leaf. What its round-off leaves open goes into the bound of the whole search."""
        from cbs_opt.solvers.exact.bnb_kernels import support_value

        value, margin = support_value(self._block.H, self._block.c, mask)
        proven = value - margin if math.isfinite(value) else 0.0
        self._closed = min(self._closed, max(proven, bound))
        self.offer(mask)

    def offer(self, mask: Mask) -> None:
        """Take ``mask``, or what a local search from it finds, as the incumbent if it is better."""
        from cbs_opt.solvers.exact.bnb_kernels import support_value

        H, c = self._block.H, self._block.c
        doubt = self._block.base_error / self._block.scale
        if not support_value(H, c, mask)[0] < self._value + doubt:
            return
        for candidate in (mask, swap.improve(H, c, mask, self._free)):
            value, _ = support_value(H, c, candidate)
            # Around a far minimizer values that differ little look alike; there f itself decides.
            rank = value if doubt == 0 else self._problem.objective(obs_update(self._problem, candidate))
            if rank < self._rank:
                self._rank, self.mask = rank, candidate
            self._value = min(self._value, value)
        self._cutoff = self._value - 0.9 * self._gap * abs(self._block.bound(self._value)) / self._block.scale


SPEC = MethodSpec(
    name="bnb",
    run=run,
    summary="branch and bound on the perspective bound, with screening",
    exact=True,
    objective=Objective.JOINT,
    reference="Frangioni & Gentile 2006; Hazimeh, Mazumder & Saab 2022",
    requires=("numba",),
    max_n=1000,
    prepare=prepare,
)
