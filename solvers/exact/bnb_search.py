"""The tree of ``bnb``: how its nodes are bounded and branched, where it begins anew, where its incumbents come from."""

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
LABELS_BEGINNINGS = {1: 20}
"""The same where weights carry several labels: a root of many multipliers is worth its rounds at once, and without
pieces a tree that begins anew has little to gain for the nodes it leaves."""
PIECES_FROM = 401
"""Here the last beginning is, where it can be, one with rank-one pieces instead (docs/decisions/0013)."""
NEARLY = 0.7
"""A tree whose bound has come this part of the way from the root's to the cutoff by then goes on as it is."""
EARLY, STUCK = 3, 0.2
"""A tree whose bound has not come so far after so many nodes for each weight begins with pieces then."""
MOST_FREE = 256
"""With more free weights at the root it is not: the Newton systems of that root would take too long."""
LEAST_D = 0.8
"""D does not fall below this part of what it is at that root (docs/decisions/0013)."""
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


def _fixed(state: NDArray[np.int8], branch: int) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """``state`` with the weight kept, and with it pruned."""
    from cbs_opt.solvers.forms.node_state import KEPT, PRUNED

    kept, pruned = state.copy(), state.copy()
    kept[branch], pruned[branch] = KEPT, PRUNED
    return kept, pruned


class Search(BlockSearch[Node | PieceNode]):
    """The tree of one problem under labels with room. Values are in the block's units."""

    shared_from = PIECES_FROM

    def __init__(self, problem: PruningProblem, gap: float, record: Callable[[NodeRecord], None] | None) -> None:
        super().__init__(problem, gap)
        self._record = record
        self._weight = self._block.H.diagonal()
        self._piece_root: PieceRoot | None = None
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
        """Above the round-off of every value that ``compiled/leaves`` computes; infinite where nothing can be said."""
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

        if self._piece_root is None and self._wants_pieces:
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
        """The part of the way from the root's bound to the cutoff that the bound has come."""
        first = self._root.bound
        way = self._cutoff - first
        return (self._proven() - first) / way if way > 0 else 1.0

    @property
    def _wants_pieces(self) -> bool:
        """Whether the tree is to begin with pieces at this node."""
        if self.nodes == PIECES_FROM:
            return self._progress < NEARLY
        return self.nodes == EARLY * len(self._weight) + 1 < PIECES_FROM and self._progress < STUCK

    def _with_pieces(self) -> PieceNode | None:
        """Have the tree begin for the last time, with pieces; returns its root, or None where that cannot be."""
        from cbs_opt.solvers.forms.node_state import FREE

        root = self._root
        # What the first root has fixed is not in the tree that is recorded from here on.
        state = self._given if self._record else root.state
        if np.count_nonzero(state == FREE) > MOST_FREE:
            return None
        found = piece_root(self._block, state, self._room, self._value)
        if found is None:
            return None
        prepare_pieces()
        self._piece_root = found
        anew = PieceNode(root.bound, 0, -1, state, found.D, found.q, found.z)
        self.begin_anew(anew)
        self._first = self.nodes - 1
        return anew

    def _done(
        self, outcome: int, state: NDArray[np.int8], w: Vector, scores: Vector, bound: float, baseline: float
    ) -> bool:
        """Close a bounded node that needs no children, as a leaf or by trying its leaves; else look for incumbents."""
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
        """The node to work on and its rounds of splitting improvement: ``node``, or the root where the tree begins."""
        if self._record:
            return node, RECORDED_ROUNDS if self.nodes == 1 else NODE_ROUNDS
        beginnings = BEGINNINGS if len(self._room.room) == 1 else LABELS_BEGINNINGS
        if self.nodes not in beginnings or (self.nodes >= PIECES_FROM and self._progress >= NEARLY):
            return node, NODE_ROUNDS
        self.begin_anew(self._root)
        return self._root, beginnings[self.nodes]

    def _few_leaves(self, state: NDArray[np.int8], scores: Vector, baseline: float) -> bool:
        """Whether trying all leaves of a bounded node costs no more than a few nodes of its subtree would."""
        from cbs_opt.solvers.compiled.leaves import work_of_leaves
        from cbs_opt.solvers.forms.node_state import FREE

        if not self._may_try(state, MOST_ROOM):
            return False
        most = NODE_WORK + NODE_CUBES * float(np.count_nonzero(state == FREE)) ** 3
        return bool(work_of_leaves(state, scores, self._budget, baseline - self._cutoff, most) <= most)

    def _may_try(self, state: NDArray[np.int8], most_room: int) -> bool:
        """Whether a node's leaves can be tried: one label, and at most ``most_room`` weights more may be kept."""
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
        """Try all leaves that a node's bound leaves (``baseline`` −inf: all); False where round-off forbids it."""
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
        """The relaxed point's largest w_i²H_ii of each label, as many as the node may still keep."""
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
        # Exchanges of pairs of the pattern's free weights, as long as one helps.
        from cbs_opt.solvers.compiled.incumbents import exchange

        improved = mask.copy()
        exchange(self._block.H, self._block.c, improved, self._given, self._room.labels)
        return improved
