"""A proven lower bound on the joint problem, by itself: for masks made by any tool."""

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
"""Most weights for which the dense perspective bound (n³ work, n² memory) is the default."""

TREE_LIMIT = 256
"""Most weights for which the rows of a layer are bounded as one dense block, too."""

TREE_WORK = 2.5e8
"""The tree that goes on from it has as many nodes as make this number with the cube of the weights: 950 of 64 weights,
120 of 128. A node of 64 weights takes about a quarter of a millisecond."""

LEAST_NODES = 50
"""Fewer would add nothing to the root."""


@dataclass(frozen=True)
class LowerBound:
    """A proven lower bound.

    Parameters
    ----------
    value : float
        ≤ f(w) for every w whose support lies in the pattern, round-off margin subtracted.
    method : str
        'tree' (a diagonal splitting chosen by ascent, then the first nodes of ``bnb``), 'dual' (splitting D = λI,
        factor form) or 'rows' (a splitting for all rows of a layer together, then one for each).
    seconds : float
        Wall time.
    iterations : int
        Nodes of 'tree', rounds of the others.
    """

    value: float
    method: str
    seconds: float
    iterations: int


def lower_bound(problem: PruningProblem, device: str = "cpu", time_limit: float | None = None) -> LowerBound:
    """A proven lower bound on the joint problem: the best that takes about as long as a good selector.

    Parameters
    ----------
    problem : PruningProblem
        With its pattern set.
    device : str
        'cpu' or 'cuda', where the search for the bound runs. The bound itself is evaluated in float64 on the CPU (the
        Cholesky factorizations that prove the splittings of 'rows', in float64 as well, on the device).
    time_limit : float, optional
        Seconds ≥ 0: the best bound found by then; more time never gives a lower one. A first bound is waited for, and
        the root of 'tree' is not interrupted.

    Notes
    -----
    Up to ``PERSPECTIVE_LIMIT`` weights H is formed, and the bound of its root goes up with the first nodes of a tree:
    as many as ``TREE_WORK`` allows, whatever the machine, so that the bound can be repeated. Blocks of some dozens of
    weights are often proven to the end. (``solve(problem, 'bnb')`` goes on.) Beyond, a factor AᵀA + λI never is
    formed, nor is a block-diagonal curvature, with one pattern over all its blocks; of a dense block, the smallest
    eigenvalue is split off.

    Raises
    ------
    TooLargeError
        More weights than a dense splitting can take, on a dense curvature.
    InputError
        A time limit that is no number of seconds.
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
    """One way to a bound, and what it is for.

    Parameters
    ----------
    name : str
        ``LowerBound.method``.
    ready : callable
        Imports, and compiles where that is needed, before the clock runs; returns what proves.
    curvatures : tuple of Curvature classes
    labels : bool
        Whether it is for patterns only that are labels with room, as a cardinality, quotas and N:M are.
    most : float
        So many weights at the most.
    """

    name: str
    ready: Callable[[], Prove]
    curvatures: tuple[type[Curvature], ...] = (Curvature,)
    labels: bool = False
    most: float = math.inf

    def takes(self, problem: PruningProblem) -> bool:
        """Whether ``problem`` is one of those it is for."""
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
"""All of them; the first that takes a problem bounds it."""
