"""The tree of ``bnb`` under labels with room: how it bounds nodes, when it begins again, where incumbents come from."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import EPS, Mask, Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.bounds.centered import root_state
from cbs_opt.solvers.exact.block_search import BlockSearch
from cbs_opt.solvers.exact.bnb_nodes import Node, NodeRecord, PieceNode, PieceRecord
from cbs_opt.solvers.exact.bnb_pieces import PieceRoot, piece_root, prepare_pieces
from cbs_opt.solvers.heuristic import greedy_obs

DIRECT_ROOM = 3
"""A node that may keep no more than so many further weights is closed by trying all its leaves, without a bound."""
MOST_ROOM = 14
"""A node that may keep no more than so many is bounded, and closed by trying the leaves that its bound leaves, if that
takes no more multiply-adds than ``NODE_WORK`` + ``NODE_CUBES`` times the cube of its free weights."""
NODE_CUBES = 10.0
"""See ``MOST_ROOM``."""
NODE_WORK = 2e5
"""See ``MOST_ROOM``; the two together are about the work of two to five nodes."""
MOST_DOUBT = 1e-3
"""Leaves are tried only if the round-off of their values is at most this part of the cutoff: else too many of them
would have to be evaluated one by one."""
BEGINNINGS = {1: 4, 17: 40, 401: 300}
"""At these node numbers the tree begins, at the later ones again from its root, with so many rounds of splitting
improvement at the most. A new root takes about as long as all nodes before it (docs/decisions/0011)."""
LABELS_BEGINNINGS = {1: 20}
"""The same where weights carry several labels: a root with many multipliers is worth its rounds at once, and without
pieces a new root gains little compared with the nodes that are dropped for it."""
PIECES_FROM = 401
"""At this node the tree begins again with rank-one pieces, where that is possible (docs/decisions/0013)."""
NEARLY = 0.7
"""But a tree whose bound has by then come this part of the way from the root's bound to the cutoff goes on as it is."""
EARLY = {3: 0.2}
"""A tree whose bound has not come this part of that way after so many nodes for each weight begins with pieces already
then."""
LABELS_EARLY = {2: 0.12, 3: 0.2}
"""The same where weights carry several labels."""
MOST_FREE = 256
"""With more free weights at the root there are no pieces: the Newton systems of their root would take too long."""
COARSE_FREE = 64
"""An early beginning under several labels takes a coarse root of pieces where at most so many weights are free: most
such trees are small, and their nodes take less time than a step of the root. One that has not come far by PIECES_FROM
nodes begins with an exact root."""
LEAST_D = 0.8
"""In a tree with pieces D does not fall below this part of what it is at the root (docs/decisions/0013)."""
RECORDED_ROUNDS = 40
"""Rounds of splitting improvement at the root where nodes are recorded, so that one tree from one root is recorded."""
NODE_ROUNDS = 1
"""Rounds of splitting improvement at every other node: two give fewer nodes in the same time (docs/decisions/0007)."""
LEAST_SHARE = 0.01
"""The least barrier of a node: a splitting too close to the boundary leaves its children no way to improve it."""
PASSES = 1
"""How often a node is bounded again after screening fixed something."""
RESTARTS = (30, 300, 3000)
"""At these nodes ``SEARCHES`` local searches start from perturbed relaxed points. (Several threads skip node numbers,
and with them some of these.)"""
SEARCHES = 10
"""See ``RESTARTS``."""


def _fixed(state: NDArray[np.int8], branch: int) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """``state`` with the weight ``branch`` kept, and with it pruned."""
    from cbs_opt.solvers.forms.node_state import KEPT, PRUNED

    kept, pruned = state.copy(), state.copy()
    kept[branch], pruned[branch] = KEPT, PRUNED
    return kept, pruned


class Search(BlockSearch[Node | PieceNode]):
    """The tree of one problem under labels with room. Values are in the units of ``CenteredBlock``."""

    shared_from = PIECES_FROM

    def __init__(self, problem: PruningProblem, gap: float, record: Callable[[NodeRecord], None] | None) -> None:
        super().__init__(problem, gap)
        self._record = record
        self._weight = self._block.H.diagonal()
        self._piece_root: PieceRoot | None = None
        self._coarse = False
        self._first = 0  # the node at which the tree that is recorded began
        state, D, self._room = root_state(problem, self._block)
        self._given = state
        self._pull = self._block.H @ self._block.c
        self._size = float(self._block.c @ self._pull)
        self._doubt = self._doubt_of_leaves()
        self._root = Node(0.0, 0, -1, state, D, self._block.c, np.full(len(self._room.room), -1.0), 1.0)
        self.mask = self._greedy()
        self.offer(self.mask)
        self._heap.append(self._root)

    @property
    def _budget(self) -> int:
        """How many weights may be kept, where all carry one label."""
        return int(self._room.room[0])

    def _doubt_of_leaves(self) -> float:
        """A bound on the round-off of every value that ``compiled/leaves`` computes; infinite where none is known."""
        n = len(self._weight)
        smallest = float(self._block.eigenvalues[0]) - n * EPS * float(self._weight.sum())
        if not smallest > 0:
            return math.inf
        gamma = 4.0 * (n + 10) * EPS
        kappa = float(self._weight.max()) / smallest
        if n * gamma * kappa > 0.1:  # H + E might be singular
            return math.inf
        reach = math.sqrt(n * kappa * self._size) + float(np.abs(self._block.c) @ np.sqrt(self._weight))
        return 2.0 * gamma * reach**2

    def branch(self, node: Node | PieceNode) -> tuple[Node | PieceNode, Node | PieceNode] | None:
        """Fathom the node, close it as a leaf, or branch; the child that keeps the weight is dived into."""
        from cbs_opt.solvers.compiled.node import process

        if self._wants_pieces:
            node = self._with_pieces() or node
        if isinstance(node, PieceNode):
            return self._branch_with_pieces(node)
        node, rounds = self._rounds(node)
        if self._may_try(node.state, DIRECT_ROOM) and self._tried(node.state, np.zeros(len(node.w)), -math.inf):
            return None
        scores = np.zeros(len(node.w))
        state, D, w, tau = node.state.copy(), node.D.copy(), node.w.copy(), node.tau.copy()
        outcome, bound, share, branch, baseline = process(
            self._block.H,
            self._block.c,
            self._block.smallest,
            state,
            D,
            w,
            scores,
            tau,
            max(node.share, LEAST_SHARE),
            self._room,
            self._cutoff,
            rounds,
            0 if self._record else PASSES,
        )
        if self._record:
            self._record(
                NodeRecord(self.nodes - 1, node.parent, node.state, state, D, w, bound, self._cutoff, outcome, branch)
            )
        bound = max(bound, node.bound)
        if node is self._root:
            self._root = Node(bound, 0, -1, state, D, w, tau, share)
        if self._done(outcome, state, w, scores, bound, baseline):
            return None
        kept, pruned = _fixed(state, branch)
        return (
            Node(bound, self.nodes, self.nodes - 1, kept, D, w, tau, share),
            Node(bound, self.nodes, self.nodes - 1, pruned, D, w, tau, share),
        )

    def _branch_with_pieces(self, node: PieceNode) -> tuple[PieceNode, PieceNode] | None:
        """As ``branch``, for a node of a tree with pieces."""
        from cbs_opt.solvers.compiled.pieces_node import process_pieces

        n, root = len(node.D), self._piece_root
        assert root is not None, "it made the node"
        if self._may_try(node.state, DIRECT_ROOM) and self._tried(node.state, np.zeros(n), -math.inf):
            return None
        state, D, q, z = node.state.copy(), node.D.copy(), node.q.copy(), node.z.copy()
        w, scores = self._block.c.copy(), np.zeros(n)
        outcome, bound, branch, baseline = process_pieces(
            self._block.H,
            self._block.c,
            self._block.smallest,
            *root.pieces,
            LEAST_D * root.D,
            state,
            D,
            q,
            w,
            z,
            scores,
            node.bound,
            self._room,
            self._cutoff,
            0 if self._record else PASSES,
        )
        index = self.nodes - 1 - self._first
        if self._record:
            pieces = PieceRecord(*root.pieces, q, z)
            self._record(
                NodeRecord(index, node.parent, node.state, state, D, w, bound, self._cutoff, outcome, branch, pieces)
            )
        bound = max(bound, node.bound)
        if self._done(outcome, state, w, scores, bound, baseline):
            return None
        kept, pruned = _fixed(state, branch)
        return (
            PieceNode(bound, self.nodes, index, kept, D, q, z),
            PieceNode(bound, self.nodes, index, pruned, D, q, z),
        )

    @property
    def _progress(self) -> float:
        """Which part of the way from the root's bound to the cutoff the bound has come."""
        first = self._root.bound
        way = self._cutoff - first
        return (self._proven() - first) / way if way > 0 else 1.0

    @property
    def _wants_pieces(self) -> bool:
        """Whether the tree should begin again with pieces, or with a better root of them, at this node."""
        if self.nodes == PIECES_FROM:
            return (self._piece_root is None or self._coarse) and self._progress < NEARLY
        early = EARLY if len(self._room.room) == 1 else LABELS_EARLY
        each, others = divmod(self.nodes - 1, len(self._weight))
        due = others == 0 and each in early and self.nodes < PIECES_FROM
        return due and self._piece_root is None and self._progress < early[each]

    def _with_pieces(self) -> PieceNode | None:
        """Begin the tree again with pieces; returns its root, or None where that is not possible."""
        from cbs_opt.solvers.forms.node_state import FREE

        root = self._root
        # What the first root has fixed has no proof in the records of the tree from here on.
        state = self._given if self._record else root.state
        if np.count_nonzero(state == FREE) > MOST_FREE:
            return None
        several = len(self._room.room) > 1
        coarse = bool(several and self.nodes < PIECES_FROM and np.count_nonzero(state == FREE) <= COARSE_FREE)
        found = piece_root(self._block, state, self._room, self._value, coarse=coarse)
        if found is None:
            return None
        self._coarse = coarse
        prepare_pieces()
        self._piece_root = found
        anew = PieceNode(root.bound, 0, -1, state, found.D, found.q, found.z)
        self.begin_anew(anew)
        self._first = self.nodes - 1
        return anew

    def _done(
        self, outcome: int, state: NDArray[np.int8], w: Vector, scores: Vector, bound: float, baseline: float
    ) -> bool:
        """Close a bounded node that needs no children, and return True; else look for incumbents, and return False.

        A node is closed where it is fathomed, or a leaf, or where all its leaves can be tried.
        """
        from cbs_opt.solvers.forms.node_state import BRANCH, KEPT, LEAF

        if outcome == LEAF:
            self._close(state == KEPT, bound)
        if outcome != BRANCH:
            return True
        if self._few_leaves(state, scores, baseline) and self._tried(state, scores, baseline):
            return True
        self.offer(self._rounded(state, w))
        if self.nodes in RESTARTS:
            generator = np.random.default_rng(self.nodes)
            for _ in range(SEARCHES):
                blurred = w * np.exp(generator.normal(size=len(w)))
                self.offer(self.improved(self._rounded(state, blurred)))
        return False

    def _rounds(self, node: Node) -> tuple[Node, int]:
        """The node to work on, ``node`` or the root where the tree begins again, and its rounds of improvement."""
        if self._record:
            return node, RECORDED_ROUNDS if self.nodes == 1 else NODE_ROUNDS
        beginnings = BEGINNINGS if len(self._room.room) == 1 else LABELS_BEGINNINGS
        if self.nodes not in beginnings or (self.nodes >= PIECES_FROM and self._progress >= NEARLY):
            return node, NODE_ROUNDS
        self.begin_anew(self._root)
        return self._root, beginnings[self.nodes]

    def _few_leaves(self, state: NDArray[np.int8], scores: Vector, baseline: float) -> bool:
        """Whether trying the leaves of a bounded node takes no more work than a few nodes of its subtree would."""
        from cbs_opt.solvers.compiled.leaves import work_of_leaves
        from cbs_opt.solvers.forms.node_state import FREE

        if not self._may_try(state, MOST_ROOM):
            return False
        most = NODE_WORK + NODE_CUBES * float(np.count_nonzero(state == FREE)) ** 3
        return bool(work_of_leaves(state, scores, self._budget, baseline - self._cutoff, most) <= most)

    def _may_try(self, state: NDArray[np.int8], most_room: int) -> bool:
        """Whether the leaves of a node can be tried: under one label, where at most ``most_room`` more may be kept."""
        from cbs_opt.solvers.forms.node_state import FREE, KEPT

        if len(self._room.room) > 1:
            return False
        room = self._budget - int(np.count_nonzero(state == KEPT))
        return (
            self._record is None
            and 1 <= room <= most_room
            and room < int(np.count_nonzero(state == FREE))
            and self._doubt <= MOST_DOUBT * self._cutoff
        )

    def _tried(self, state: NDArray[np.int8], scores: Vector, baseline: float) -> bool:
        """Try the leaves that a node's bound leaves, all if ``baseline`` is −inf; False where round-off forbids it."""
        from cbs_opt.solvers.compiled.leaves import try_leaves

        done, proven, best = try_leaves(
            self._block.H,
            self._block.c,
            self._pull,
            self._size,
            state,
            scores,
            baseline - self._cutoff,
            self._budget,
            self._cutoff,
            self._doubt,
        )
        if done:
            self._closed = min(self._closed, proven)
            if np.count_nonzero(best) == self._budget:
                self.offer(best)
        return bool(done)

    def _rounded(self, state: NDArray[np.int8], w: Vector) -> Mask:
        """The mask of a node that keeps the largest w_i²H_ii of the relaxed point, as many of each label as allowed."""
        from cbs_opt.solvers.compiled.oracle import choose_best
        from cbs_opt.solvers.forms.node_state import KEPT, PRUNED

        kept, pruned = state == KEPT, state == PRUNED
        scores = np.fmin(w * w * self._weight, np.finfo(float).max)  # what has overflowed included
        scores[kept], scores[pruned] = np.inf, -1.0
        mask = np.empty(len(w), dtype=np.bool_)
        choose_best(scores, self._room, mask)
        return mask & ~pruned

    def _greedy(self) -> Mask:
        """The mask of greedy OBS."""
        from cbs_opt.solvers.compiled.incumbents import greedy

        ok, mask = greedy(self._block.H, self._block.c, self._root.state, self._room)
        return mask if ok else greedy_obs.run(self._problem).mask

    def improved(self, mask: Mask) -> Mask:
        # Exchange pairs of weights that the pattern leaves free, as long as one exchange helps.
        from cbs_opt.solvers.compiled.incumbents import exchange

        improved = mask.copy()
        exchange(self._block.H, self._block.c, improved, self._given, self._room.labels)
        return improved
