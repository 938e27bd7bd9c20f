"""Branch and bound on the selection (CBS-S): proves the best mask with the kept weights as trained.

With p = 1 − z, A = diag(w̄) H diag(w̄) and ℓ = −g∘w̄ the problem is the binary QP min ½pᵀAp + ℓᵀp, Σp ≥ k.
``compiled/selection_node.process`` bounds a node by the box QP of a diagonal splitting A = R + diag(D), which the node
inherits from its parent and improves, and screens the node. ``tree.TreeSearch`` searches the tree; its dives follow the
relaxed point.

References: for binary p the diagonal may be moved into the linear term (Hammer & Rubin, RIRO 4, 1970). The D that makes
the bound of the box QP largest solves an SDP (Billionnet & Elloumi, Mathematical Programming 109, 2007); a coordinate
ascent approaches it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import SolverError
from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.kernel.arrays.validate import as_nonnegative
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Cardinality
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import GAP_TOLERANCE, Outcome
from cbs_opt.kernel.sums import scaled_below
from cbs_opt.solvers.exact import tree
from cbs_opt.solvers.exact.compiling import announced

FIRST_SHARE = 0.1
"""The barrier of the splitting ascent at the root, low because the first splitting is already a good one."""
ROOT_ROUNDS = 60
"""Rounds of splitting improvement at the root."""
NODE_ROUNDS = 1
"""Rounds of splitting improvement at every other node."""
PASSES = 1
"""How often a node is bounded again after screening fixed something."""
BYTES_PER_WEIGHT = 17
"""Bytes that an open node takes for each weight: its state, splitting, and warm start."""


def run(
    problem: PruningProblem,
    *,
    gap: float = GAP_TOLERANCE,
    time_limit: float | None = None,
    node_limit: int | None = None,
    memory_limit: float = 2e9,
    start: Any = None,
    progress: tree.Progress | None = None,
) -> Outcome:
    """Search until the gap is closed or a limit is reached.

    Parameters
    ----------
    gap : float
        Relative gap at which the search ends.
    time_limit : float, optional
        Seconds after which the search stops.
    node_limit : int, optional
        Nodes after which the search stops.
    memory_limit : float
        About how many bytes open nodes may take; the search stops there, and a note says so.
    start : boolean array, shape (n,), or Solution, optional
        A mask in Z that the search begins with, beside one that a local search finds.
    progress : callable, optional
        ``progress(nodes, incumbent, bound)`` is called a few times a second and once at the end, with the number of
        processed nodes, the loss of the best mask so far and the bound proven so far, both in the units of f. Where it
        raises ``StopIteration``, the search ends with that mask and bound; the status and a note say so.

    Raises
    ------
    InputError
        A limit is not valid.
    PatternError
        ``start`` is not in Z.
    """
    gap = as_nonnegative(gap, "gap")
    time_limit = tree.checked_time_limit(time_limit)
    return tree.search(
        _Search(problem, gap),
        problem,
        bytes_per_node=BYTES_PER_WEIGHT * problem.n,
        time_limit=time_limit,
        node_limit=node_limit,
        memory_limit=memory_limit,
        start=start,
        progress=progress,
    )


@cache
def prepare() -> None:
    """Load the compiled kernels, or compile them and say so, before any time limit runs."""
    from cbs_opt.solvers.compiled.selection_node import process

    problem = PruningProblem(np.arange(1.0, 7.0), np.eye(6) + 0.9, pattern=Cardinality(6, 3))
    with announced(process):
        run(problem)


@dataclass(frozen=True, eq=False)
class SelectionBlock:
    """The selection as ½pᵀAp + ℓᵀp, in units where the largest A_ii is near 1: f = offset + scale·(½pᵀAp + ℓᵀp).

    Parameters
    ----------
    A : array, shape (n, n)
        diag(w̄) H diag(w̄), scaled.
    ell : array, shape (n,)
        ℓ = −g∘w̄, scaled.
    offset : float
        f(w̄).
    scale : float
        The unit of f, a power of two.
    """

    A: Matrix
    ell: Vector
    offset: float
    scale: float

    @classmethod
    def of(cls, problem: PruningProblem) -> SelectionBlock:
        """The block of ``problem.below()``, scaled by powers of two: only the products w̄_i·H_ij·w̄_j are rounded."""
        problem = problem.below()
        H = problem.curvature.dense()
        _, exponents = np.frexp(np.sqrt(H.diagonal()))
        unit = np.ldexp(1.0, -exponents)  # weights in these units have H_ii in [¼, 1)
        x = problem.w_bar / unit
        largest = float(np.abs(x).max())
        size = float(np.ldexp(1.0, int(np.frexp(largest)[1]))) if largest > 0 else 1.0
        x = x / size
        return cls(
            A=np.ascontiguousarray(H * unit * unit[:, None] * x * x[:, None]),
            ell=-(problem.linear_term() * unit / size) * x,
            offset=problem.offset,
            scale=size * size,
        )

    def in_units_of_f(self, value: float) -> float:
        """``value`` in the units of f, rounded down."""
        return sum_below(scaled_below(value, self.scale), self.offset)


class _Node(NamedTuple):
    """An open node: a valid bound, its age, the state of each weight, a certified splitting D, and a warm start."""

    bound: float
    age: int
    state: NDArray[np.int8]
    D: Vector
    p: Vector
    mu: float
    share: float


class _Search(tree.TreeSearch[_Node]):
    """The tree of one problem. Values are in the units of ``SelectionBlock``."""

    def __init__(self, problem: PruningProblem, gap: float) -> None:
        from cbs_opt.solvers.compiled.selection_node import KEPT, PRUNED

        pattern = problem.Z.labelled
        assert pattern is not None, "checked by the method's spec"
        assert pattern.single, "checked by the method's spec"
        self._block = block = SelectionBlock.of(problem)
        # Since A ⪰ 0, the value of no mask lies below this.
        lowest = float(np.minimum(block.ell, 0.0).sum())
        super().__init__(floor=lowest * (1.0 + problem.n * EPS))
        self._free, self._k, self._gap = pattern.free, problem.n - int(pattern.room[0]), gap
        self.mask = pattern.argmax(block.A.diagonal())
        self.offer(self.mask)
        state = np.zeros(problem.n, dtype=np.int8)
        state[pattern.keep] = KEPT
        state[pattern.forbid | (~pattern.keep & (problem.w_bar == 0.0))] = PRUNED  # pruning a zero costs nothing
        p = np.full(problem.n, self._k / problem.n)
        self._heap.append(_Node(self._floor, 0, state, first_splitting(block), p, 0.0, FIRST_SHARE))

    def in_units_of_f(self, value: float) -> float:
        return self._block.in_units_of_f(value)

    def branch(self, node: _Node) -> tuple[_Node, _Node] | None:
        """Fathom the node, close it as a leaf, or branch; the dive follows the relaxed point."""
        from cbs_opt.solvers.compiled.selection_node import BRANCH, KEPT, LEAF, PRUNED, process

        state, D, p = node.state.copy(), node.D.copy(), node.p.copy()
        outcome, bound, mu, share, branch = process(
            self._block.A,
            self._block.ell,
            state,
            D,
            p,
            node.mu,
            node.share,
            self._k,
            self._cutoff,
            ROOT_ROUNDS if self.nodes == 1 else NODE_ROUNDS,
            PASSES,
        )
        bound = max(bound, node.bound)
        if outcome == LEAF:
            # The bound of a leaf is its value less round-off; the lowest of them limits the bound of the whole search.
            self._closed = min(self._closed, bound)
            self.offer(state == KEPT)
        if outcome != BRANCH:
            return None
        self.offer(self._rounded(state, p))
        kept, pruned = state.copy(), state.copy()
        kept[branch], pruned[branch] = KEPT, PRUNED
        keeping, pruning = (_Node(bound, self.nodes, child, D, p, mu, share) for child in (kept, pruned))
        return (keeping, pruning) if p[branch] < 0.5 else (pruning, keeping)

    def _rounded(self, state: NDArray[np.int8], p: Vector) -> Mask:
        """The mask that prunes the largest p_i of the relaxed point, as many as the node must still prune."""
        from cbs_opt.solvers.compiled.selection_node import FREE, PRUNED

        pruned: Mask = state == PRUNED
        free = np.flatnonzero(state == FREE)
        left = max(self._k - int(pruned.sum()), 0)
        pruned[free[np.argsort(-p[free], kind="stable")[:left]]] = True
        return ~pruned

    def offer(self, mask: Mask) -> None:
        from cbs_opt.solvers.compiled.selection_node import descend

        pruned = ~mask
        value = descend(self._block.A, self._block.ell, self._free, self._k, pruned)
        if value < self._value:
            self._value, self.mask = value, ~pruned
            change = self.in_units_of_f(value)
            # The cutoff never rises, since nodes were discarded by the earlier one.
            self._cutoff = min(self._cutoff, value - 0.9 * self._gap * abs(change) / self._block.scale)


def first_splitting(block: SelectionBlock) -> Vector:
    """A certified D to start from: D_i = 0.9·λ·A_ii, with λ the smallest eigenvalue of A scaled to unit diagonal."""
    from cbs_opt.solvers.compiled.selection_bound import certify

    n = len(block.ell)
    scale = np.sqrt(np.maximum(block.A.diagonal(), 1e-300))
    D = 0.9 * float(np.linalg.eigvalsh(block.A / scale / scale[:, None])[0]) * block.A.diagonal()
    R, work, L = np.empty((3, n, n))
    if not certify(block.A, D, R, work, L):
        raise SolverError("bnb-selection: the curvature is far from positive definite; add damping")
    return D


SPEC = MethodSpec(
    name="bnb-selection",
    run=run,
    summary="selection (CBS-S) proven optimal by branch and bound on a diagonal splitting, with screening",
    exact=True,
    objective=Objective.SELECTION,
    reference="Yu, Serra, Ramalingam & Zhe, ICML 2022 (CBS-S); Billionnet & Elloumi 2007",
    requires=("numba",),
    max_n=1000,
    left_out_because="proves the selection problem only",
    prepare=prepare,
)
