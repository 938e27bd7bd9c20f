"""A proven lower bound on the joint problem without an exact solve, to judge masks from any tool."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.kernel.curvature import (
    BlockDiagonalCurvature,
    Curvature,
    DiagonalCurvature,
    FactorCurvature,
    RowsCurvature,
)
from cbs_opt.kernel.problem import PruningProblem, require_problem

PERSPECTIVE_LIMIT = 1_500
"""The most weights for which the dense perspective bound (n³ work, n² memory) is the default."""

TREE_LIMIT = 256
"""The most weights for which any problem, the rows of a layer included, is bounded as one dense block."""

TREE_WORK = 2.5e8
"""A tree has this number divided by n³ nodes: 950 for 64 weights, 120 for 128. A node of 64 weights takes about a
quarter of a millisecond."""

LEAST_NODES = 50
"""A tree of fewer nodes would add nothing to the bound of its root, which is then taken alone."""


@dataclass(frozen=True)
class LowerBound:
    """A proven lower bound.

    Parameters
    ----------
    value : float
        The bound: at most f(w) for every w whose support lies in the pattern; a margin for round-off is subtracted.
    method : str
        How it was proven: 'tree' (a diagonal splitting chosen by ascent, then the first nodes of ``bnb``), 'dual' (the
        splitting D = λI, in factor form) or 'rows' (one splitting for all rows of a layer, then one for each row).
    seconds : float
        Wall time.
    iterations : int
        The number of nodes of 'tree', or of rounds of the others.
    """

    value: float
    method: str
    seconds: float
    iterations: int


def lower_bound(problem: PruningProblem, device: str = "cpu", time_limit: float | None = None) -> LowerBound:
    """A proven lower bound on the joint problem: the best one that takes about as long as a good heuristic.

    Parameters
    ----------
    problem : PruningProblem
        The problem, with its pattern.
    device : str
        'cpu' or 'cuda', where the search for the bound runs. The bound itself is evaluated in float64 on the CPU (the
        Cholesky factorizations that prove the splittings of 'rows' on the device, in float64 as well).
    time_limit : float, optional
        Seconds ≥ 0 after which the best bound found so far is returned; more time never gives a lower bound. The first
        bound is waited for, and the root of 'tree' is not interrupted.

    Notes
    -----
    A small problem is bounded by the first nodes of a branch-and-bound tree on its H, which is formed: problems of up
    to ``TREE_LIMIT`` weights, and of up to ``PERSPECTIVE_LIMIT`` under a cardinality, quotas or N:M. The number of
    nodes, from ``TREE_WORK``, does not depend on the machine, so that the bound can be reproduced; beyond 170 weights
    under such a pattern it is the root alone. Blocks of some dozens of weights are often solved to optimality this
    way; ``solve(problem, 'bnb')`` goes on from there. The rows of a larger layer are bounded together. All other
    problems are bounded in factor form: neither AᵀA + λI nor a block-diagonal curvature is ever formed, and the
    pattern is one over all blocks; of a dense H, the smallest eigenvalue is split off.

    Raises
    ------
    TooLargeError
        The curvature is dense and has more weights than a dense splitting can take.
    InputError
        The time limit is no number of seconds.
    """
    require_problem(problem)
    if time_limit is not None and not time_limit >= 0:
        raise InputError(f"time_limit: is {time_limit}; a number of seconds, at least 0, is needed")
    for spec in BOUNDS:
        if spec.takes(problem):
            prove = spec.ready()
            started = time.perf_counter()
            value, iterations = prove(problem, device, time_limit)
            return LowerBound(value, spec.name, time.perf_counter() - started, iterations)
    raise TooLargeError(
        f"lower_bound: takes at most {PERSPECTIVE_LIMIT} weights on a {problem.curvature.kind} curvature, but there "
        f"are {problem.n}; cut the problem into blocks, or give the factor (gradients) instead of H"
    )


Prove = Callable[[PruningProblem, str, float | None], tuple[float, int]]
"""``prove(problem, device, time_limit)`` → the bound and the iterations it took."""


@dataclass(frozen=True)
class BoundSpec:
    """One way to a bound, and the problems that it is for.

    Parameters
    ----------
    name : str
        Its name in ``LowerBound.method``.
    ready : callable
        Imports, and compiles if needed, before the clock runs; returns the function that proves the bound.
    curvatures : tuple of Curvature classes
        The curvatures that it takes.
    labels : bool
        Whether it takes only patterns that are labels with room (``Pattern.labelled``): a cardinality, quotas, N:M.
    most : float
        The most weights that it takes.
    """

    name: str
    ready: Callable[[], Prove]
    curvatures: tuple[type[Curvature], ...] = (Curvature,)
    labels: bool = False
    most: float = math.inf

    def takes(self, problem: PruningProblem) -> bool:
        """Whether it can bound ``problem``."""
        return (
            isinstance(problem.curvature, self.curvatures)
            and (not self.labels or problem.Z.labelled is not None)
            and problem.n <= self.most
        )


def _tree() -> Prove:
    from cbs_opt.solvers.bounds.perspective import perspective_bound
    from cbs_opt.solvers.exact import bnb

    bnb.prepare()

    def prove(problem: PruningProblem, device: str, time_limit: float | None) -> tuple[float, int]:
        started = time.perf_counter()
        nodes = int(TREE_WORK / problem.n**3)
        root, _ = perspective_bound(problem) if problem.Z.labelled is not None else (-math.inf, 0)
        if nodes < LEAST_NODES and root > -math.inf:
            return root, 1
        left = None if time_limit is None else max(time_limit - (time.perf_counter() - started), 0.0)
        searched = bnb.run(problem, node_limit=max(nodes, 1), time_limit=left)
        return max(root, searched.bound), max(1, searched.nodes)

    return prove


def _dual() -> Prove:
    from cbs_opt.solvers.bounds.dual import dual_bound

    return dual_bound


def _rows() -> Prove:
    from cbs_opt.solvers.bounds.rows import rows_bound

    return rows_bound


BOUNDS = (
    BoundSpec("tree", _tree, most=TREE_LIMIT),
    BoundSpec("rows", _rows, curvatures=(RowsCurvature,), labels=True),
    BoundSpec("tree", _tree, labels=True, most=PERSPECTIVE_LIMIT),
    BoundSpec("dual", _dual, curvatures=(FactorCurvature, BlockDiagonalCurvature, DiagonalCurvature)),
    BoundSpec("dual", _dual, most=PERSPECTIVE_LIMIT),
)
"""All ways to a bound; a problem is bounded by the first one that takes it."""
