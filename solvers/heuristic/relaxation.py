"""Relaxation and rounding: the maximizer of the dual bound (D) chooses the mask, and bounds how good any mask can be.

1. Maximize (D) (``bounds.dual``): a proven lower bound, scores s, and a relaxed mask z, fractional where scores tie.
2. Round in three ways: the best mask for s; the best for z; the best for the scores ½λω² of the relaxed mask's weights,
   that is for z∘s. Re-tune each exactly, keep the best.
   Where weights are kept together, iterative thresholding by the joint losses of units (``iht``) goes on from there.
3. Exchange blocks of weights, or of units, on the joint objective until none helps (``block_swap``); block-diagonal
   curvatures take iterative thresholding instead (``iht``).

The perspective relaxation with H = AᵀA + λI is a k-support-norm problem (Argyriou, Foygel & Srebro, NIPS 2012); its
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
"""Of iterative thresholding, where blocks are not exchanged."""


def run(problem: PruningProblem, *, tolerance: float = TOLERANCE, device: str = "cpu") -> Outcome:
    """Maximize the bound, round, re-tune, exchange.

    Parameters
    ----------
    tolerance : float
        How far, relative to the loss, the bound may stay below the best one of its kind.
    device : str
        'cpu' or 'cuda'.
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
    """A better support of ``problem``, whose curvature is the first argument, and a note where it was cut short."""
    return threshold(problem, supports, support, ITERATIONS), ""


@improved.register
def _exchanged(
    curvature: FactorCurvature, problem: PruningProblem, supports: Supports, support: Support
) -> tuple[Support, str]:
    if has_larger_units(problem.Z):
        support = threshold(problem, supports, support, ITERATIONS)
    return improve(problem, supports, support)


def _best_rounding(problem: PruningProblem, supports: Supports, found: DualSolution) -> Support:
    best: Support | None = None
    last: Support | None = None
    tried: list[Mask] = []
    for scores in (found.scores, found.z, found.z * found.scores):
        # Where z is 0 or 1 for both, the larger score decides.
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
