"""A proven lower bound on the joint problem, by itself: for masks made by any tool."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cbs_opt.errors import TooLargeError
from cbs_opt.kernel.patterns import Cardinality
from cbs_opt.kernel.problem import PruningProblem

PERSPECTIVE_LIMIT = 1_500
"""Most weights for which the dense perspective bound (n³ work, n² memory) is the default."""


@dataclass(frozen=True)
class LowerBound:
    """A proven lower bound.

    Parameters
    ----------
    value : float
        ≤ f(w) for every w whose support lies in the pattern, round-off margin subtracted.
    method : str
        'perspective' (diagonal splitting chosen by ascent), 'dual' (splitting D = λI, factor form) or 'rows' (one
        splitting for all rows of a layer).
    seconds : float
    iterations : int
    """

    value: float
    method: str
    seconds: float
    iterations: int


def lower_bound(problem: PruningProblem, device: str = "cpu") -> LowerBound:
    """The best bound on the joint problem that needs no branching.

    Parameters
    ----------
    device : str
        'cpu' or 'cuda', where the search for the bound runs. The bound itself is evaluated in float64 on the CPU.

    Notes
    -----
    Up to ``PERSPECTIVE_LIMIT`` weights H is formed. Beyond, a factor AᵀA + λI never is, nor is a block-diagonal
    curvature, with one pattern over all its blocks; of a dense block, the smallest eigenvalue is split off.

    Raises
    ------
    TooLargeError
        More weights than a dense splitting can take, on a dense curvature.
    """
    from cbs_opt.kernel.curvature import BlockDiagonalCurvature, DiagonalCurvature, FactorCurvature, RowsCurvature
    from cbs_opt.solvers.bounds.dual import dual_bound
    from cbs_opt.solvers.bounds.perspective import perspective_bound
    from cbs_opt.solvers.exact.bnb import prepare

    small = problem.n <= PERSPECTIVE_LIMIT and isinstance(problem.Z, Cardinality)
    if small:
        prepare()
    started = time.perf_counter()
    if small:
        value, iterations = perspective_bound(problem)
        return LowerBound(value, "perspective", time.perf_counter() - started, iterations)
    if isinstance(problem.curvature, (FactorCurvature, BlockDiagonalCurvature, DiagonalCurvature)):
        value, iterations = dual_bound(problem, device)
        return LowerBound(value, "dual", time.perf_counter() - started, iterations)
    if isinstance(problem.curvature, RowsCurvature) or problem.n <= PERSPECTIVE_LIMIT:
        from cbs_opt.solvers.bounds.rows import rows_bound

        value, iterations = rows_bound(problem, device)
        return LowerBound(value, "rows", time.perf_counter() - started, iterations)
    raise TooLargeError(
        f"lower_bound: takes at most {PERSPECTIVE_LIMIT} weights on a {problem.curvature.kind} curvature, but there "
        f"are {problem.n}; cut the problem into blocks, or give the factor (gradients) instead of H"
    )
