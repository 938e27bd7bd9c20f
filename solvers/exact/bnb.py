"""Branch and bound on the perspective bound (B): the joint problem, proven.

A node fixes weights to be kept or pruned; ``bnb_kernels.process`` reduces it, bounds it with a splitting
inherited and re-improved, and screens it. ``tree.TreeSearch`` searches the tree; dives keep the branching weight.

References: bound (B) is the perspective reformulation of Frangioni & Gentile, Mathematical Programming 106
(2006), in dual form with a diagonal splitting; Hazimeh, Mazumder & Saab, Mathematical Programming 196
(2022), branch and bound on it by coordinate descent for sparse regression.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.patterns import Cardinality
from cbs_opt.problem import PruningProblem
from cbs_opt.registry import MethodSpec, Objective
from cbs_opt.result import GAP_TOLERANCE, Outcome
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.exact import tree
from cbs_opt.solvers.exact.compiling import announced, compiled_beside
from cbs_opt.solvers.heuristic import greedy_obs
from cbs_opt.update import obs_update
from cbs_opt.validate import EPS, Mask, Vector, as_nonnegative

DIRECT_ROOM = 3
"""Where no more weights than this may still be kept, all leaves are tried at once."""
MOST_ROOM = 14
"""Where no more than this, those that the node's bound leaves are tried if that takes no more multiply-adds than"""
NODE_CUBES = 10.0
"""… this times the cube of the free weights, and"""
NODE_WORK = 2e5
"""… this: about as much as two to five nodes."""
MOST_DOUBT = 1e-3
"""Relative to the cutoff: beyond, too many leaves would have to be evaluated one by one."""
BEGINNINGS = {1: 4, 17: 40, 401: 300}
"""At these nodes the tree begins (anew, from what the root has learnt), with so many rounds of splitting improvement at
most: it takes about as long as the nodes before did (docs/decisions/0011)."""
RECORDED_ROUNDS = 40
"""Of the root where nodes are recorded: one tree, from one root;"""
NODE_ROUNDS = 1
"""of every other node: two give fewer nodes in the same time (docs/decisions/0007)."""
LEAST_SHARE = 0.01
"""A node's barrier is at least this: a splitting too close to the boundary leaves its children no way to improve it."""
PASSES = 1
"""How often a node is reduced again once screening fixed something."""
RESTARTS = (30, 300, 3000)
"""At these nodes local searches are started anew, ``SEARCHES`` of them, from perturbed relaxed points. (Several threads
leave out node numbers, and with them some of these.)"""
SEARCHES = 10
BYTES_PER_WEIGHT = 17
"""Of an open node: state, splitting, warm start."""


def run(
    problem: PruningProblem,
    *,
    gap: float = GAP_TOLERANCE,
    time_limit: float | None = None,
    node_limit: int | None = None,
    memory_limit: float = 2e9,
    start: Any = None,
    progress: tree.Progress | None = None,
    threads: int = 1,
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
    threads : int
        That search a tree together once it has grown to some hundred nodes. Another number may take another path to
        an equally good mask; the same number takes the same.
    record : callable, optional
        Called with every processed node. Screened nodes are then not reduced a second time at once, so
        that each record stands for one bound.

    Raises
    ------
    InputError
        A limit or a number of threads that is none; records of more than one thread.
    """
    threads = tree.checked_threads(threads)
    if record is not None and threads > 1:
        raise InputError(f"threads: is {threads}; nodes are recorded, as for a certificate, by one thread only: give 1")
    gap = as_nonnegative(gap, "gap")
    time_limit = tree.checked_time_limit(time_limit)
    return tree.search(
        _Search(problem, gap, record), problem, bytes_per_weight=BYTES_PER_WEIGHT, time_limit=time_limit,
        node_limit=node_limit, memory_limit=memory_limit, start=start, progress=progress,
        threads=threads,
    )  # fmt: skip


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
    from cbs_opt.solvers.bounds.perspective import perspective_bound
    from cbs_opt.solvers.exact.bnb_kernels import process, support_value

    problem = _example()
    with announced(process) as cold:
        if cold:
            block = CenteredBlock.of(problem)
            support_value(block.H, block.c, problem.Z.argmax(block.c))  # both processes need it
            with compiled_beside(compile_leaves):
                perspective_bound(problem)
        run(problem, record=lambda _: None)
        compile_leaves()


def compile_leaves() -> None:
    """Load or compile the kernels of incumbents and leaves: about half of all, none of which ``process`` needs."""
    problem = _example()
    search = _Search(problem, GAP_TOLERANCE, None)
    root = search._heap[0]
    search._few_leaves(root.state, np.zeros(problem.n), 0.0)
    search._tried(root.state, np.zeros(problem.n), 0.0)


def _example() -> PruningProblem:
    return PruningProblem(np.arange(1.0, 5.0), np.eye(4) + 0.5, pattern=Cardinality(4, 2))


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

    def __lt__(self, other: Any, /) -> bool:
        return (self.bound, self.age) < (other.bound, other.age)  # brothers are as old as one another


class _Search(tree.TreeSearch[_Node]):
    """The tree of one problem. Values are in the block's units."""

    shared_from = max(BEGINNINGS)

    def __init__(self, problem: PruningProblem, gap: float, record: Callable[[NodeRecord], None] | None) -> None:
        super().__init__(floor=0.0)
        self._record = record
        self._problem = problem
        self._gap = gap
        self._block = CenteredBlock.of(problem)
        self._weight = self._block.H.diagonal()
        self._rank = math.inf
        state, D, self._budget = root_state(problem, self._block)
        self._given = state
        self._pull = self._block.H @ self._block.c
        self._size = float(self._block.c @ self._pull)
        self._doubt = self._doubt_of_leaves()
        self._root = _Node(0.0, 0, -1, state, D, self._block.c, -1.0, 1.0)
        self.mask = self._greedy()
        self.offer(self.mask)
        self._heap.append(self._root)

    def _doubt_of_leaves(self) -> float:
        """Above the round-off of every value that ``leaves_kernels`` computes; infinite where nothing can be said."""
        n, H = len(self._weight), self._block.H
        smallest = float(np.linalg.eigvalsh(H)[0]) - n * EPS * float(self._weight.sum())
        if not smallest > 0:
            return math.inf
        gamma = 4.0 * (n + 10) * EPS
        kappa = float(self._weight.max()) / smallest
        if n * gamma * kappa > 0.1:  # H + E might be singular
            return math.inf
        reach = math.sqrt(n * kappa * self._size) + float(np.abs(self._block.c) @ np.sqrt(self._weight))
        return 2.0 * gamma * reach**2

    def in_units_of_f(self, value: float) -> float:
        return self._block.bound(value)

    def branch(self, node: _Node) -> tuple[_Node, _Node] | None:
        """Fathom the node, close it as a leaf, or branch; the child that keeps the weight is dived into."""
        from cbs_opt.solvers.exact.bnb_kernels import BRANCH, KEPT, LEAF, PRUNED, process

        node, rounds = self._rounds(node)
        if self._may_try(node.state, DIRECT_ROOM) and self._tried(node.state, np.zeros(len(node.w)), -math.inf):
            return None
        scores = np.zeros(len(node.w))
        state, D, w = node.state.copy(), node.D.copy(), node.w.copy()
        outcome, bound, tau, share, branch, baseline = process(
            self._block.H, self._block.c, state, D, w, scores, node.tau, max(node.share, LEAST_SHARE), self._budget,
            self._cutoff, rounds, 0 if self._record else PASSES,
        )  # fmt: skip
        if self._record:
            self._record(
                NodeRecord(
                    self.nodes - 1, node.parent, node.state, state, D, w, bound, self._cutoff, outcome, branch
                )
            )
        bound = max(bound, node.bound)
        if node is self._root:
            self._root = _Node(bound, 0, -1, state, D, w, tau, share)
        if outcome == LEAF:
            self._close(state == KEPT, bound)
        if outcome != BRANCH:
            return None
        if self._few_leaves(state, scores, baseline) and self._tried(state, scores, baseline):
            return None
        self.offer(self._rounded(state, w))
        if self.nodes in RESTARTS:
            generator = np.random.default_rng(self.nodes)
            for _ in range(SEARCHES):
                blurred = w * np.exp(generator.normal(size=len(w)))
                self.offer(self._exchanged(self._rounded(node.state, blurred)))
        kept, pruned = state.copy(), state.copy()
        kept[branch], pruned[branch] = KEPT, PRUNED
        return (
            _Node(bound, self.nodes, self.nodes - 1, kept, D, w, tau, share),
            _Node(bound, self.nodes, self.nodes - 1, pruned, D, w, tau, share),
        )

    def _learn(self, one: _Search) -> None:
        mask = one.mask if one._rank < self._rank else self.mask
        super()._learn(one)
        self.mask, self._rank = mask, min(self._rank, one._rank)

    def _rounds(self, node: _Node) -> tuple[_Node, int]:
        """The node to work on and its rounds of splitting improvement: ``node``, or the root where the tree begins."""
        if self._record:
            return node, RECORDED_ROUNDS if self.nodes == 1 else NODE_ROUNDS
        if self.nodes not in BEGINNINGS:
            return node, NODE_ROUNDS
        self._dive = self._root  # before the others go: an interrupt finds one or the other open
        self._heap.clear()
        return self._root, BEGINNINGS[self.nodes]

    def _few_leaves(self, state: NDArray[np.int8], scores: Vector, baseline: float) -> bool:
        """Whether trying all leaves of a bounded node costs no more than a few nodes of its subtree would."""
        from cbs_opt.solvers.exact.bnb_kernels import FREE
        from cbs_opt.solvers.exact.leaves_kernels import work_of_leaves

        if not self._may_try(state, MOST_ROOM):
            return False
        most = NODE_WORK + NODE_CUBES * float(np.count_nonzero(state == FREE)) ** 3
        return bool(work_of_leaves(state, scores, self._budget, baseline - self._cutoff, most) <= most)

    def _may_try(self, state: NDArray[np.int8], most_room: int) -> bool:
        """Whether the leaves of a node can be tried, and at most ``most_room`` weights more may be kept."""
        from cbs_opt.solvers.exact.bnb_kernels import FREE, KEPT

        room = self._budget - int(np.count_nonzero(state == KEPT))
        return (
            self._record is None
            and 1 <= room <= most_room
            and room < int(np.count_nonzero(state == FREE))
            and self._doubt <= MOST_DOUBT * self._cutoff
        )

    def _tried(self, state: NDArray[np.int8], scores: Vector, baseline: float) -> bool:
        """Try all leaves that a node's bound leaves (``baseline`` −inf: all); False where round-off forbids it."""
        from cbs_opt.solvers.exact.leaves_kernels import try_leaves

        done, proven, best = try_leaves(
            self._block.H, self._block.c, self._pull, self._size, state, scores, baseline - self._cutoff, self._budget,
            self._cutoff, self._doubt,
        )  # fmt: skip
        if done:
            self._closed = min(self._closed, proven)
            if np.count_nonzero(best) == self._budget:
                self.offer(best)
        return bool(done)

    def _rounded(self, state: NDArray[np.int8], w: Vector) -> Mask:
        """The relaxed point's largest w_i²H_ii, as many as the node may still keep."""
        from cbs_opt.solvers.exact.bnb_kernels import FREE, KEPT

        mask: Mask = state == KEPT
        free = np.flatnonzero(state == FREE)
        room = self._budget - int(mask.sum())
        order = np.argsort(-(w[free] ** 2 * self._weight[free]), kind="stable")
        mask[free[order[:room]]] = True
        return mask

    def _greedy(self) -> Mask:
        """The mask of greedy OBS."""
        from cbs_opt.solvers.exact.incumbent_kernels import greedy

        ok, mask = greedy(self._block.H, self._block.c, self._root.state, self._budget)
        return mask if ok else greedy_obs.run(self._problem).mask

    def _exchanged(self, mask: Mask) -> Mask:
        """``mask`` after exchanges of pairs of the pattern's free weights, as long as one helps."""
        from cbs_opt.solvers.exact.incumbent_kernels import exchange

        improved = mask.copy()
        exchange(self._block.H, self._block.c, improved, self._given)
        return improved

    def _close(self, mask: Mask, bound: float) -> None:
        """Offer the one mask of a leaf. What its round-off leaves open goes into the bound of the whole search."""
        from cbs_opt.solvers.exact.bnb_kernels import support_value

        value, margin = support_value(self._block.H, self._block.c, mask)
        proven = value - margin if math.isfinite(value) else 0.0
        self._closed = min(self._closed, max(proven, bound))
        self.offer(mask)

    def offer(self, mask: Mask) -> None:
        from cbs_opt.solvers.exact.bnb_kernels import support_value

        H, c = self._block.H, self._block.c
        doubt = self._block.base_error / self._block.scale
        if not support_value(H, c, mask)[0] < self._value + doubt:
            return
        for candidate in (mask, self._exchanged(mask)):
            value, _ = support_value(H, c, candidate)
            # Around a far minimizer values that differ little look alike; there f itself decides.
            rank = value if doubt == 0 else self._problem.objective(obs_update(self._problem, candidate))
            if rank < self._rank:
                self._rank, self.mask = rank, candidate
            self._value = min(self._value, value)
        # Never above an earlier one, which discarded nodes: with a gap above 1 it might rise as the value falls.
        self._cutoff = min(
            self._cutoff, self._value - 0.9 * self._gap * abs(self._block.bound(self._value)) / self._block.scale
        )


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
