"""Branch and bound on the perspective bound (B): solves the joint problem to proven optimality.

A node fixes some weights as kept or pruned. ``compiled/node.process`` eliminates them, bounds the node with a splitting
that it inherits from its parent and improves, and screens the other weights. ``tree.TreeSearch`` searches the tree; its
dives follow the child that keeps the branching weight. A tree that grows large may begin again with rank-one pieces
(``bounds/pieces``) beside the diagonal (``compiled/pieces_node``). Where all weights carry one label, a node that may
keep only a few more weights is closed by trying all its masks (``compiled/leaves``). Patterns without labels are
searched by ``bnb_units``.

References: bound (B) is the perspective reformulation of Frangioni & Gentile, Mathematical Programming 106 (2006), in
dual form with a diagonal splitting. Hazimeh, Mazumder & Saab, Mathematical Programming 196 (2022), branch and bound on
that reformulation by coordinate descent, for sparse regression.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from cbs_opt.errors import InputError, UnsupportedError
from cbs_opt.kernel.arrays.validate import as_nonnegative
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Cardinality, Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import GAP_TOLERANCE, Outcome
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.exact import tree
from cbs_opt.solvers.exact.bnb_nodes import NodeRecord
from cbs_opt.solvers.exact.bnb_pieces import prepare_pieces
from cbs_opt.solvers.exact.bnb_search import Search
from cbs_opt.solvers.exact.bnb_units import UnitSearch
from cbs_opt.solvers.exact.compiling import announced, compiled_beside, in_cache

BYTES_PER_WEIGHT = 17
"""Bytes that an open node takes for each weight: its state, D, and w or z."""
BYTES_OF_PIECES = 1400
"""Bytes that an open node takes for q, an array of one number for each piece."""


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
        Seconds after which the search stops. The node in work is finished first: with some 200 free weights, the root
        at which a tree begins again takes a second or two.
    node_limit : int, optional
        Nodes after which the search stops.
    memory_limit : float
        About how many bytes open nodes may take; the search stops there, and a note says so.
    start : boolean array, shape (n,), or Solution, optional
        A mask in Z that the search begins with, beside one that it finds by itself.
    progress : callable, optional
        ``progress(nodes, incumbent, bound)`` is called a few times a second and once at the end, with the number of
        processed nodes, the loss of the best mask so far and the bound proven so far, both in the units of f. Where it
        raises ``StopIteration``, the search ends with that mask and bound; the status and a note say so.
    threads : int
        Number of threads that search a tree together once it has grown to some hundred nodes. The search is repeatable
        for the same number; another number may lead to another mask that is equally good within the gap.
    record : callable, optional
        Called with the ``NodeRecord`` of every processed node. A node is then not bounded a second time after
        screening, so that each record stands for one bound.

    Raises
    ------
    InputError
        A limit or the number of threads is not valid, or nodes are to be recorded by more than one thread.
    PatternError
        ``start`` is not in Z.
    UnsupportedError
        Nodes are to be recorded under a pattern without labels.
    """
    threads = tree.checked_threads(threads)
    if record is not None and threads > 1:
        raise InputError(f"threads: is {threads}; nodes are recorded, as for a certificate, by one thread only: give 1")
    gap = as_nonnegative(gap, "gap")
    time_limit = tree.checked_time_limit(time_limit)
    labelled = problem.Z.labelled is not None
    if record is not None and not labelled:
        raise UnsupportedError(f"record: nodes are recorded under cardinalities, quotas and N:M only, not: {problem.Z}")
    return tree.search(
        Search(problem, gap, record) if labelled else UnitSearch(problem, gap),
        problem,
        bytes_per_node=BYTES_PER_WEIGHT * problem.n + BYTES_OF_PIECES if labelled else 8 * problem.n * (problem.n + 40),
        time_limit=time_limit,
        node_limit=node_limit,
        memory_limit=memory_limit,
        start=start,
        progress=progress,
        threads=threads,
    )


@cache
def prepare() -> None:
    """Load the compiled kernels, or compile them and say so, before any time limit runs.

    The kernels of pieces, which only larger trees need, are compiled here too; where they are in the cache, the first
    tree that needs them loads them.
    """
    from cbs_opt.solvers.bounds.perspective import perspective_bound
    from cbs_opt.solvers.compiled.node import process, support_value
    from cbs_opt.solvers.compiled.pieces_node import process_pieces

    problem = _example()
    with announced(process, process_pieces) as cold:
        if cold:
            block = CenteredBlock.of(problem)
            support_value(block.H, block.c, problem.Z.argmax(block.c))  # compiled first, since both processes need it
            with compiled_beside(compile_second_half):
                perspective_bound(problem)
        run(problem, record=lambda _: None)
        compile_leaves()
        if not in_cache(process_pieces):
            prepare_pieces()


def compile_second_half() -> None:
    """Compile what a second process takes over while the first compiles ``process``: the kernels that ``process`` calls
    last, and those of leaves."""
    from cbs_opt.solvers.compiled.dense import inverse_diagonal
    from cbs_opt.solvers.compiled.splitting import ascend_splitting

    H, L, inverse, ones = np.eye(2), np.empty((2, 2)), np.empty((2, 2)), np.ones(2)
    ascend_splitting(H, ones / 2, ones.copy(), 0.1, np.zeros(2), np.empty((2, 2)), L, inverse)
    inverse_diagonal(L, ones)
    compile_leaves()


def compile_leaves() -> None:
    """Load or compile the kernels of incumbents and leaves, about half of all; ``process`` needs none of them."""
    problem = _example()
    search = Search(problem, GAP_TOLERANCE, None)
    root = search._heap[0]
    search._few_leaves(root.state, np.zeros(problem.n), 0.0)
    search._tried(root.state, np.zeros(problem.n), 0.0)
    search._rounded(root.state, np.zeros(problem.n))


def _example() -> PruningProblem:
    """A problem of four weights that the kernels are called on for the first time."""
    return PruningProblem(np.arange(1.0, 5.0), np.eye(4) + 0.5, pattern=Cardinality(4, 2))


SPEC = MethodSpec(
    name="bnb",
    run=run,
    summary="branch and bound on the perspective bound, with screening",
    exact=True,
    objective=Objective.JOINT,
    reference="Frangioni & Gentile 2006; Hazimeh, Mazumder & Saab 2022",
    patterns=(Pattern,),
    requires=("numba",),
    max_n=1000,
    prepare=prepare,
)
