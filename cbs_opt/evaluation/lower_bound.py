"""A proven lower bound on the joint problem, by itself: for masks made by any tool."""

from __future__ import annotations

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
        'perspective' (diagonal splitting chosen by ascent), 'dual' (splitting D = λI, factor form) or 'rows' (a
        splitting for all rows of a layer together, then one for each).
    seconds : float
    iterations : int
    """

    value: float
    method: str
    seconds: float
    iterations: int


def lower_bound(problem: PruningProblem, device: str = "cpu", time_limit: float | None = None) -> LowerBound:
    """The best bound on the joint problem that needs no branching.

    Parameters
    ----------
    device : str
        'cpu' or 'cuda', where the search for the bound runs. The bound itself is evaluated in float64 on the CPU (the
        Cholesky factorizations that prove the splittings of 'rows', in float64 as well, on the device).
    time_limit : float, optional
        Seconds ≥ 0: the best bound found by then; more time never gives a lower one. A first bound is waited for, and
        'perspective' is not interrupted.

    Notes
    -----
    Up to ``PERSPECTIVE_LIMIT`` weights H is formed. Beyond, a factor AᵀA + λI never is, nor is a block-diagonal
    curvature, with one pattern over all its blocks; of a dense block, the smallest eigenvalue is split off.

    Raises
    ------
    TooLargeError
        More weights than a dense splitting can take, on a dense curvature.
    InputError
        A time limit that is no number of seconds.
    """
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
    one_label : bool
        Whether it is for patterns only whose weights all carry one label, as a cardinality's do.
    forms_H : bool
        Whether H is formed: up to ``PERSPECTIVE_LIMIT`` weights only.
    """

    name: str
    ready: Callable[[], Prove]
    curvatures: tuple[type[Curvature], ...] = (Curvature,)
    one_label: bool = False
    forms_H: bool = False

    def takes(self, problem: PruningProblem) -> bool:
        """Whether ``problem`` is one of those it is for."""
        labelled = problem.Z.labelled
        return (
            isinstance(problem.curvature, self.curvatures)
            and (not self.one_label or (labelled is not None and labelled.single))
            and (not self.forms_H or problem.n <= PERSPECTIVE_LIMIT)
        )


def _perspective() -> Prove:
    from cbs_opt.solvers.bounds.perspective import perspective_bound
    from cbs_opt.solvers.exact.bnb import prepare

    prepare()
    return lambda problem, device, time_limit: perspective_bound(problem)


def _dual() -> Prove:
    from cbs_opt.solvers.bounds.dual import dual_bound

    return dual_bound


def _rows() -> Prove:
    from cbs_opt.solvers.bounds.rows import rows_bound

    return rows_bound


BOUNDS = (
    BoundSpec("perspective", _perspective, one_label=True, forms_H=True),
    BoundSpec("dual", _dual, curvatures=(FactorCurvature, BlockDiagonalCurvature, DiagonalCurvature)),
    BoundSpec("rows", _rows, curvatures=(RowsCurvature,)),
    BoundSpec("rows", _rows, forms_H=True),
)
"""All of them; the first that takes a problem bounds it."""
