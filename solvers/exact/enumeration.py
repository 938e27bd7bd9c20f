"""Enumeration: tries every mask of Z. All other methods are tested against it.

    joint (CBS):          min over the maximal masks z ∈ Z of min_{w: w_i = 0 where z_i = 0} f(w)
    selection (CBS-S):    min over all masks z ∈ Z of f(z∘w̄)

Keeping more weights never raises the joint optimum, so that only maximal masks are tried, those to which Z lets no
weight be added. For the selection this does not hold, since a kept weight may cancel the loss of another one, and all
masks are tried.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.kernel.stacks import update_dense
from cbs_opt.kernel.update import obs_update
from cbs_opt.solvers.bounds.support import support_bounds

Masks = NDArray[np.bool_]

MAX_N = 20
"""Most weights of a problem."""
BATCH = 4096
"""Masks evaluated at a time."""

FINALISTS = 8
"""So many of the best masks of the batched evaluation are evaluated once more, in the way that ``solve`` does it."""


def run_joint(problem: PruningProblem) -> Outcome:
    """The optimal mask of CBS; ties go to the mask tried first."""
    low = problem.below()
    H, w_bar, g = low.curvature.dense(), problem.w_bar, problem.linear_term()

    def updated(masks: Masks) -> Matrix:
        weights: Matrix = update_dense(H, np.broadcast_to(w_bar, masks.shape), masks, np.broadcast_to(g, masks.shape))
        return weights

    masks, allowed = _all_masks(problem.Z)
    chosen = masks[_maximal(allowed)]
    return _best(problem, low, chosen, updated, True, lambda mask: obs_update(problem, mask))


def run_selection(problem: PruningProblem) -> Outcome:
    """The optimal mask of CBS-S; ties go to the mask tried first."""
    masks, allowed = _all_masks(problem.Z)
    w_bar, chosen = problem.w_bar, masks[allowed]
    return _best(problem, problem.below(), chosen, lambda z: z * w_bar, False, lambda mask: mask * w_bar)


def _all_masks(pattern: Pattern) -> tuple[Masks, Mask]:
    """All masks that differ in the f free weights, shape (2^f, n), and which are in Z; row r keeps the bits of r."""
    free = np.flatnonzero(pattern.free)
    codes = np.arange(2 ** len(free))
    masks = np.tile(pattern.argmax(np.zeros(pattern.n)), (len(codes), 1))
    for bit, i in enumerate(free):
        masks[:, i] = codes >> bit & 1
    return masks, np.fromiter(map(pattern.contains, masks), np.bool_, len(codes))


def _maximal(allowed: Mask) -> Mask:
    """Which of all masks are in Z and leave it with any one weight added."""
    codes, maximal = np.arange(len(allowed)), allowed.copy()
    for bit in range(len(allowed).bit_length() - 1):
        lacking = codes[codes >> bit & 1 == 0]
        maximal[lacking] &= ~allowed[lacking | 1 << bit]
    return maximal


def _best(
    problem: PruningProblem,
    low: PruningProblem,
    masks: Masks,
    weights: Callable[[Masks], Matrix],
    updated: bool,
    weights_of_one: Callable[[Mask], Vector],
) -> Outcome:
    """The mask with the smallest f, and the smallest of the bounds that are proven for single masks on ``low``.

    ``weights`` and ``weights_of_one`` give the weights of masks; ``updated`` says that these nearly minimize f on their
    mask.
    """
    values, bounds = np.empty(len(masks)), np.empty(len(masks))
    for at in range(0, len(masks), BATCH):
        part = slice(at, at + BATCH)
        w = weights(masks[part])
        values[part] = _objectives(low, w)
        bounds[part] = support_bounds(low, w, masks[part] if updated else None)
    finalists = masks[np.sort(np.argsort(values, kind="stable")[:FINALISTS])]
    value, mask = min(((problem.objective(weights_of_one(z)), z) for z in finalists), key=lambda pair: pair[0])
    return Outcome(mask.copy(), bound=min(value, float(bounds.min())), nodes=len(masks))


def _objectives(problem: PruningProblem, weights: Matrix) -> Vector:
    """f of each row of ``weights`` (B, n)."""
    H, g = problem.curvature.dense(), problem.linear_term()
    d = weights - problem.w_bar
    return np.asarray(problem.offset + 0.5 * np.einsum("bi,bi->b", d @ H, d) + d @ g)


JOINT = MethodSpec(
    name="enumeration",
    run=run_joint,
    summary="try every mask, with the update (n ≤ 20)",
    exact=True,
    objective=Objective.JOINT,
    reference="exhaustive search",
    patterns=(Pattern,),
    max_n=MAX_N,
    left_out_because="an oracle for tests",
)

SELECTION = MethodSpec(
    name="enumeration-selection",
    run=run_selection,
    summary="try every mask, with the kept weights as trained (n ≤ 20)",
    exact=True,
    objective=Objective.SELECTION,
    reference="exhaustive search",
    patterns=(Pattern,),
    max_n=MAX_N,
    left_out_because="an oracle for tests",
)
