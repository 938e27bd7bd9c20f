"""A proven lower bound on the joint problem, by itself: for masks made by any tool."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cbs_opt.errors import TooLargeError
from cbs_opt.problem import PruningProblem

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
        'perspective' (diagonal splitting chosen by ascent) or 'dual' (splitting D = λI, factor form).
    seconds : float
    iterations : int
    """

    value: float
    method: str
    seconds: float
    iterations: int


def lower_bound(problem: PruningProblem) -> LowerBound:
    """The best bound on the joint problem that needs no branching.

    Raises
    ------
    TooLargeError
        More weights than a dense splitting can take, on a curvature that is not a factor.
    """
    from cbs_opt.curvature import FactorCurvature
    from cbs_opt.solvers.bounds.dual import dual_bound
    from cbs_opt.solvers.bounds.perspective import perspective_bound
    from cbs_opt.solvers.exact.bnb import prepare

    if problem.n <= PERSPECTIVE_LIMIT:
        prepare()
    started = time.perf_counter()
    if problem.n <= PERSPECTIVE_LIMIT:
        value, iterations = perspective_bound(problem)
        return LowerBound(value, "perspective", time.perf_counter() - started, iterations)
    if isinstance(problem.curvature, FactorCurvature):
        value, iterations = dual_bound(problem)
        return LowerBound(value, "dual", time.perf_counter() - started, iterations)
    raise TooLargeError(
        f"lower_bound: takes at most {PERSPECTIVE_LIMIT} weights on a {problem.curvature.kind} curvature, but there "
        f"are {problem.n}; cut the problem into blocks, or give the factor (gradients) instead of H"
    )
