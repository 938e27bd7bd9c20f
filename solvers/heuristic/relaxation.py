"""Relaxation and rounding: the maximizer of the dual bound (D) chooses the mask, and bounds how good any mask can be.

1. Maximize (D) (``bounds.dual``). This gives a proven lower bound, scores s of the weights, and a relaxed mask z, which
   is fractional where scores tie.
2. Round in three ways: take the best mask of the pattern for the scores s, for z, and for z∘s. Re-tune each exactly and
   keep the best. Where weights are kept together, iterative thresholding (``iht``) goes on from there.
3. Exchange blocks of weights, or of units, on the joint objective until none helps (``block_swap``). For block-diagonal
   and diagonal curvatures iterative thresholding takes the place of the exchanges.

The perspective relaxation with H = AᵀA + λI is a k-support-norm problem (Argyriou, Foygel & Srebro, NIPS 2012). Its
dual has one variable per sample, so that whole networks come within reach.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, Curvature, DiagonalCurvature, FactorCurvature
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.bounds.dual import TOLERANCE, DualSolution, maximize_dual
from cbs_opt.solvers.heuristic.block_swap import improve, singular
from cbs_opt.solvers.heuristic.block_swap_support import Support, Supports
from cbs_opt.solvers.heuristic.iht import threshold
from cbs_opt.solvers.heuristic.unit_scores import has_larger_units

ITERATIONS = 20
"""Iterations of iterative thresholding at the most."""


def run(problem: PruningProblem, *, tolerance: float = TOLERANCE, device: str = "cpu") -> Outcome:
    """Maximize the dual bound, round and re-tune its relaxed mask, and improve that by a local search.

    Parameters
    ----------
    tolerance : float
        How far, relative to the loss, the bound may stay below the largest dual bound.
    device : str
        Where the bound is maximized and the mask searched: 'cpu' or 'cuda'. The bound is evaluated on the CPU.
    """
    found = maximize_dual(problem, device, tolerance)
    supports = Supports(problem, device)
    support = _best_rounding(problem, supports, found)
    support, note = improved(problem.curvature, problem, supports, support)
    return Outcome(support.mask, bound=found.value, notes=(*found.notes, *((note,) if note else ())))


@singledispatch
def improved(
    curvature: Curvature, problem: PruningProblem, supports: Supports, support: Support
) -> tuple[Support, str]:
    """A support of ``problem`` improved by local search, and a note where the search was cut short.

    The first argument is the curvature of the problem, which decides on the search.
    """
    return threshold(problem, supports, support, ITERATIONS), ""


@improved.register
def _exchanged(
    curvature: FactorCurvature, problem: PruningProblem, supports: Supports, support: Support
) -> tuple[Support, str]:
    if has_larger_units(problem.Z):
        support = threshold(problem, supports, support, ITERATIONS)
    return improve(problem, supports, support)


def _best_rounding(problem: PruningProblem, supports: Supports, found: DualSolution) -> Support:
    """The best of the three roundings, re-tuned."""
    best: Support | None = None
    last: Support | None = None
    tried: list[Mask] = []
    for scores in (found.scores, found.z, found.z * found.scores):
        # Among weights of equal z the larger score decides.
        mask = problem.Z.argmax(scores + 1e-9 * found.scores / max(float(found.scores.max()), 1e-300))
        if any((mask == other).all() for other in tried):
            continue
        tried.append(mask)
        last = supports.at(mask, last)
        if last is not None and (best is None or last.value < best.value):
            best = last
    if best is None:
        raise singular(problem)
    assert np.isfinite(best.value)
    return best


SPEC = MethodSpec(
    name="relaxation",
    run=run,
    summary="maximize the dual bound, round, exchange blocks: best mask for whole networks, with its proven bound",
    exact=False,
    objective=Objective.JOINT,
    reference="Argyriou, Foygel & Srebro, NIPS 2012",
    patterns=(Pattern,),
    curvatures=(FactorCurvature, BlockDiagonalCurvature, DiagonalCurvature),
    requires=("torch",),
    left_out_because="made for layers and whole networks",
)
