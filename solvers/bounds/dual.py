"""The dual bound (D) of a factored curvature H = AᵀA + λI: m variables, and two passes over A for an evaluation.

With α ∈ Rᵐ in the place of A(w − w̄), y = Aᵀα + g and s_i = (y_i − λw̄_i)²/(2λ),

    d(α) = offset − ½‖α‖² + min_{z∈Z} [ Σ_{z_i=0} (½λw̄_i² − y_i w̄_i) − Σ_{z_i=1} y_i²/(2λ) ],

with the minimum attained at z = argmax_{z∈Z} Σ z_i s_i, is a lower bound on the joint problem for every α: for every d
= w − w̄ holds ½‖Ad‖² ≥ αᵀAd − ½‖α‖², and the rest is minimized coordinate by coordinate. d(α) is concave, with the
supergradient −α + Ad at d_i = −w̄_i where pruned and d_i = −y_i/λ where kept. A pattern is used through its oracle
alone, so that every pattern is covered.

A block-diagonal H has one α for each block and one mask for all; a diagonal block needs no α (see ``dual_blocks``). The
maximizer is in ``dual_newton``, and may work in float32 on any device: whatever α it finds is evaluated here, in
float64 on the problem's own data, less a margin for the round-off of the evaluation.
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
"""How far, relative to the loss, the maximizer may stay below the largest d(α)."""

WORTH_FLOAT64 = 10.0
"""Where the bound found in float32 may be short of the largest by more than this multiple of the tolerance, the search
goes on in float64."""


@dataclass(frozen=True, eq=False)
class DualSolution:
    """An α that nearly maximizes (D), and what belongs to it.

    Parameters
    ----------
    value : float
        d(α) less a margin for round-off, a proven bound in the units of f.
    alpha : array, shape (Σm,)
        The α of all blocks, one after the other.
    scores : array, shape (n,)
        s at α; Z.argmax(scores) is the mask that attains d(α).
    z : array, shape (n,)
        The relaxed mask in the convex hull of Z that belongs to α, fractional where scores tie.
    evaluations : int
        Evaluations of the gradient, of two passes over A each.
    notes : tuple of str
        Says so where the search stopped short of its tolerance.
    """

    value: float
    alpha: Vector
    scores: Vector
    z: Vector
    evaluations: int
    notes: tuple[str, ...] = ()


def dual_bound(problem: PruningProblem, device: str = "cpu", time_limit: float | None = None) -> tuple[float, int]:
    """The largest d(α) that is found, proven, and how many evaluations it took.

    After ``time_limit`` seconds the search ends with the best bound so far; the first bound is always waited for.
    """
    found = maximize_dual(problem, device, time_limit=time_limit)
    return found.value, found.evaluations


def maximize_dual(
    problem: PruningProblem, device: str = "cpu", tolerance: float = TOLERANCE, time_limit: float | None = None
) -> DualSolution:
    """Maximize (D): in float32 where that is enough, and on from there in float64 where it is not.

    Parameters
    ----------
    device : str
        Where the search runs: 'cpu' or 'cuda'. The bound is evaluated on the CPU.
    tolerance : float
        How far, relative to the loss, the search may stay below the largest d(α).
    time_limit : float, optional
        Seconds after which the search ends with the best bound so far; the first bound is always waited for.
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
        # Where the largest d(α) is about zero, what is missing may be the margin for round-off alone.
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
    """d(α) less its margin for round-off, a proven bound whatever ``alpha`` (m,) is, and a supergradient (m,) of d."""
    pieces = pieces_of(problem.curvature)
    value, _, step = _evaluate(problem, pieces, alpha)
    parts = _parts_of(pieces, alpha)
    images = [np.zeros(0) if p.factor is None else p.factor.image(step[p.part]) - a for p, a in parts]
    return value, np.concatenate(images)


def _evaluate(problem: PruningProblem, pieces: Sequence[DualBlock], alpha: Vector) -> tuple[float, float, Vector]:
    """d(α) less its margin for round-off, that margin, and the step d = w − w̄ of d(α), shape (n,)."""
    lam, w_bar = _damping(pieces), problem.w_bar
    y, error = _shifted_image(problem, pieces, alpha)
    scores = (y - lam * w_bar) ** 2 / (2.0 * lam)
    z: Mask = problem.Z.argmax(scores)
    costs = np.where(z, -(y * y) / (2.0 * lam), (0.5 * lam * w_bar - y) * w_bar)
    half_square = 0.5 * float(alpha @ alpha)
    # Where the oracle finds a mask that may not be the best, what the best may score above it is subtracted.
    short = max(problem.Z.most(scores) - math.fsum(scores[z]), 0.0)
    value = problem.offset - half_square + float(costs.sum()) - short
    # First what the error of y does to the costs of any mask, since another mask may be the best for the exact y.
    slip = float(error @ np.maximum(np.abs(y) / lam, np.abs(w_bar))) + float(error @ (error / lam)) / 2.0
    # Then what rounded scores do to the choice of the mask, and the round-off of the sums themselves.
    sums = half_square * max(len(alpha), 1) + float(np.abs(costs).sum()) + float(scores[z].sum()) + abs(problem.offset)
    sums += float((0.5 * lam * w_bar * w_bar).sum())
    slip += float(np.sqrt(problem.n) + 8.0) * EPS * sums
    return sum_below(value, -slip), slip, np.where(z, -y / lam, -w_bar)


def _scores(problem: PruningProblem, pieces: Sequence[DualBlock], alpha: Vector) -> Vector:
    """The scores s at ``alpha``, shape (n,)."""
    lam = _damping(pieces)
    y, _ = _shifted_image(problem, pieces, alpha)
    return np.asarray((y - lam * problem.w_bar) ** 2 / (2.0 * lam))


def _shifted_image(problem: PruningProblem, pieces: Sequence[DualBlock], alpha: Vector) -> tuple[Vector, Vector]:
    """y = Aᵀα + g and a bound on its round-off, both of shape (n,)."""
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
    """λ of every weight, shape (n,)."""
    return np.concatenate([piece.damping for piece in pieces])


def _parts_of(pieces: Sequence[DualBlock], alpha: Vector) -> list[tuple[DualBlock, Vector]]:
    """Each block with its own part of ``alpha``."""
    borders = np.cumsum([0] + [piece.m for piece in pieces])
    return [(piece, alpha[a:b]) for piece, a, b in zip(pieces, borders[:-1], borders[1:], strict=True)]
