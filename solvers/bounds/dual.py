"""The dual bound (D) of a factored curvature H = AᵀA + λI: m variables, two passes over A an evaluation.

With α ∈ Rᵐ in the place of A(w − w̄), y = Aᵀα + g and s_i = (y_i − λw̄_i)²/(2λ),

    d(α) = offset − ½‖α‖² + Σ_i min(pruned_i, kept_i) over the best mask in Z
         = offset − ½‖α‖² + Σ_{z_i=0} (½λw̄_i² − y_i w̄_i) − Σ_{z_i=1} y_i²/(2λ),   z = argmax_{z∈Z} Σ z_i s_i,

is a lower bound on the joint problem for every α: ½‖Ad‖² ≥ αᵀAd − ½‖α‖², and what is left is minimized
coordinate by coordinate. It is concave; −α + A d(α), d_i = −w̄_i where pruned and −y_i/λ where kept, is a
supergradient. Every pattern works through its oracle.

A block-diagonal H has one α per block and one mask for all; a diagonal block needs none (see ``dual_blocks``). The
maximizer is in ``dual_newton``, and may work in float32 on any device: whatever α it finds is evaluated here, in
float64 on the problem's own data, with a margin for the round-off of that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.arrays.types import EPS, Mask, Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.bounds.dual_blocks import DualBlock, pieces_of

TOLERANCE = 1e-5
"""How far, relative to the loss, the maximizer may stay below the best bound of this kind."""

WORTH_FLOAT64 = 10.0
"""Multiple of the tolerance beyond which float64 takes over from float32."""


@dataclass(frozen=True, eq=False)
class DualSolution:
    """A maximizer of (D).

    Parameters
    ----------
    value : float
        d(α), round-off margin subtracted: proven.
    alpha : array, shape (Σm,)
        One block's after the other's.
    scores : array, shape (n,)
        s at α; the maximizing mask is Z.argmax(scores).
    z : array, shape (n,)
        The relaxed mask in the convex hull of Z that belongs to α, fractional at ties.
    evaluations : int
        Of the gradient, two passes over A each.
    notes : tuple of str
    """

    value: float
    alpha: Vector
    scores: Vector
    z: Vector
    evaluations: int
    notes: tuple[str, ...] = ()


def dual_bound(problem: PruningProblem, device: str = "cpu", time_limit: float | None = None) -> tuple[float, int]:
    """The largest d(α) that is found (in ``time_limit`` seconds, a first one apart), and the evaluations it took."""
    found = maximize_dual(problem, device, time_limit=time_limit)
    return found.value, found.evaluations


def maximize_dual(
    problem: PruningProblem, device: str = "cpu", tolerance: float = TOLERANCE, time_limit: float | None = None
) -> DualSolution:
    """A maximizer of (D): in float32 where that is enough, in float64 from there where it is not.

    After ``time_limit`` seconds the rounds end, with the best of them.
    """
    from cbs_opt.kernel.device import device_named
    from cbs_opt.solvers.bounds.dual_newton import Climb, climb
    from cbs_opt.solvers.bounds.dual_tensors import DualTensors, single_will_do

    until = np.inf if time_limit is None else time.perf_counter() + time_limit
    pieces = pieces_of(problem.curvature)
    place = device_named(device)
    found: Climb | None = None
    best, evaluations = -np.inf, 0
    alpha = np.zeros(sum(piece.m for piece in pieces))
    notes: tuple[str, ...] = ()
    for single in ([True] if single_will_do(pieces, place) else []) + [False]:
        tensors = DualTensors(problem, pieces, place, single)
        if found is not None:
            found.alpha = tensors.alpha_from_problem(alpha)
        found = climb(tensors, problem.Z, tolerance, found, until)
        evaluations += found.evaluations
        trial = tensors.alpha_of_problem(found.alpha)
        value, slip, _ = _evaluate(problem, pieces, trial)
        if value > best:
            best, alpha = value, trial
        short = tensors.value_of_problem(found.upper) - best
        if time.perf_counter() > until:
            break
        # Where the best of its kind is about zero, the margin for round-off is all there is between.
        if short <= max(WORTH_FLOAT64 * tolerance * tensors.value_of_problem(found.scale, 0.0), 2.0 * slip):
            break
    else:
        notes = (f"the dual bound stopped up to {short:.2g} below the best of its kind",) if np.isfinite(short) else ()
    assert found is not None
    if best == -np.inf:
        best = _evaluate(problem, pieces, alpha)[0]
    if problem.g is None:
        best = max(best, problem.offset)  # f − offset is a sum of squares
    scores = _scores(problem, pieces, alpha)
    return DualSolution(best, alpha, scores, found.z.cpu().numpy(), evaluations, notes)


def dual_value(problem: PruningProblem, alpha: Vector) -> tuple[float, Vector]:
    """d(α) with its round-off margin subtracted, and a supergradient (m,)."""
    pieces = pieces_of(problem.curvature)
    value, _, step = _evaluate(problem, pieces, alpha)
    parts = _parts_of(pieces, alpha)
    images = [np.zeros(0) if p.factor is None else p.factor.image(step[p.part]) - a for p, a in parts]
    return value, np.concatenate(images)


def _evaluate(problem: PruningProblem, pieces: Sequence[DualBlock], alpha: Vector) -> tuple[float, float, Vector]:
    """d(α) less its round-off, that round-off, and d = w − w̄ at which d(α) is attained, shape (n,)."""
    lam, w_bar = _damping(pieces), problem.w_bar
    y, error = _shifted_image(problem, pieces, alpha)
    scores = (y - lam * w_bar) ** 2 / (2.0 * lam)
    z: Mask = problem.Z.argmax(scores)
    costs = np.where(z, -(y * y) / (2.0 * lam), (0.5 * lam * w_bar - y) * w_bar)
    half_square = 0.5 * float(alpha @ alpha)
    # An oracle may have found a mask that is not the best: what the best may score above it is taken off.
    short = max(problem.Z.most(scores) - math.fsum(scores[z]), 0.0)
    value = problem.offset - half_square + float(costs.sum()) - short
    # What the error of y does to the costs of any mask (the best one for the exact y may be another) …
    slip = float(error @ np.maximum(np.abs(y) / lam, np.abs(w_bar))) + float(error @ (error / lam)) / 2.0
    # … what rounded scores do to the choice, and the sums themselves.
    sums = half_square * max(len(alpha), 1) + float(np.abs(costs).sum()) + float(scores[z].sum()) + abs(problem.offset)
    sums += float((0.5 * lam * w_bar * w_bar).sum())
    slip += float(np.sqrt(problem.n) + 8.0) * EPS * sums
    return sum_below(value, -slip), slip, np.where(z, -y / lam, -w_bar)


def _scores(problem: PruningProblem, pieces: Sequence[DualBlock], alpha: Vector) -> Vector:
    lam = _damping(pieces)
    y, _ = _shifted_image(problem, pieces, alpha)
    return np.asarray((y - lam * problem.w_bar) ** 2 / (2.0 * lam))


def _shifted_image(problem: PruningProblem, pieces: Sequence[DualBlock], alpha: Vector) -> tuple[Vector, Vector]:
    """y = Aᵀα + g and what it may be wrong by, both of shape (n,)."""
    y, error = np.zeros(problem.n), np.zeros(problem.n)
    for piece, a in _parts_of(pieces, alpha):
        if piece.factor is not None:
            # A dot product of m terms is wrong by at most m·eps·‖A_i‖‖α‖.
            y[piece.part] = piece.factor.back(a)
            error[piece.part] = piece.m * EPS * np.sqrt(piece.factor.column_squares * float(a @ a))
    if problem.g is not None:
        y += problem.g
        error += EPS * np.abs(y)
    return y, error


def _damping(pieces: Sequence[DualBlock]) -> Vector:
    return np.concatenate([piece.damping for piece in pieces])


def _parts_of(pieces: Sequence[DualBlock], alpha: Vector) -> list[tuple[DualBlock, Vector]]:
    borders = np.cumsum([0] + [piece.m for piece in pieces])
    return [(piece, alpha[a:b]) for piece, a, b in zip(pieces, borders[:-1], borders[1:], strict=True)]
