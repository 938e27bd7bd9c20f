"""The relaxation behind ``unit_blocks``, over the linear rows of a pattern, and the ascent of the blocks split off.

    φ(z) = min_w ½wᵀRw − bᵀw + ½ Σ_u w_uᵀB_uw_u/z_u        over   A (z, y) ≤ h,  0 ≤ z, y ≤ 1

has z_u for each unit and y for the variables that the pattern itself adds. φ is convex and smooth in z > 0. With w the
solution of Mw = b for M = R + B/z (each B_u divided by its z_u), ∂φ/∂z_u = −½w_uᵀB_uw_u/z_u² and

    ∂²φ/∂z∂z' = diag(w_uᵀB_uw_u/z_u³) − XᵀM⁻¹X,      X the columns B_uw_u/z_u² of the units.

A primal-dual interior-point method with an infeasible start (S. Wright, Primal-Dual Interior-Point Methods, 1997) takes
about a dozen Newton steps, whatever the rows are. By itself it proves nothing: every w that it passes gives a valid
bound (B), and the best of these bounds counts. An equality is two rows here; the rows are loosened a little, so that
even then there are points strictly inside.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.patterns.rows import Rows
from cbs_opt.solvers.bounds.interior import back, factor, room
from cbs_opt.solvers.bounds.unit_blocks import (
    LEAST_GAIN,
    Oracle,
    Reduced,
    Split,
    ascended,
    bound_at,
    certified,
)

STEPS = 40
"""Newton steps at the most."""

SHARPER = 0.15
"""The factor by which a step aims to reduce the barrier."""

WORTH_A_LOOK = 0.3
"""The bound is evaluated once the complementarity is no more than this part of the value."""

LONGEST = 0.95
"""The part of the way to the boundary that a step may go."""

SLACK = 1e-6
"""The relative amount by which the rows are loosened."""

LEAST_SHARE = 0.01
"""The least barrier of the splitting ascent, as a share: a splitting closer to the boundary leaves the children of a
node no way to improve it."""

INSIDE = 0.03
"""A start is at least so far from 0 and 1."""

NEXT = 1e-12
"""No point comes nearer to 0 and 1 than this."""


class Polytope(NamedTuple):
    """A (z, y) ≤ h over the units z and the variables y that the pattern itself adds, all of them in [0, 1]."""

    A: Matrix  # (rows, units + own)
    h: Vector  # (rows,)
    own: int  # how many variables y there are

    @classmethod
    def of(cls, rows: Rows, unit: NDArray[np.int64], keep: Mask, free: Mask) -> Polytope:
        """The polytope of a pattern's rows, with one variable for all weights of a unit.

        The pattern's own variables are scaled to run from their lower to their upper limit. Rows that hold a variable
        without limits are left out, which only enlarges the polytope.

        Parameters
        ----------
        rows : Rows
            The linear rows of the pattern.
        unit : integer array, shape (n,)
            The unit of each weight.
        keep, free : mask, shape (n,)
            The weights that are forced to stay, which count in h, and the free ones, which count in A.
        """
        n = rows.n
        dense = rows.A.toarray()
        A, own = dense[:, :n], dense[:, n:]
        columns = np.zeros((len(A), int(unit.max()) + 1))
        np.add.at(columns.T, unit[free], A[:, free].T)
        low, width = rows.low[n:], rows.high[n:] - rows.low[n:]
        within = np.isfinite(low) & np.isfinite(width)
        stays = ~(own[:, ~within] != 0.0).any(axis=1)
        own = own[:, within]
        h = rows.limit - A[:, keep].sum(axis=1) - own @ low[within]
        A = np.hstack([columns, own * width[within]])[stays]
        size = np.abs(A).max(axis=1, initial=0.0)
        size[size == 0.0] = 1.0
        return cls(A / size[:, None], h[stays] / size, own.shape[1])

    def decided(self, kept: NDArray[np.int64], free: NDArray[np.int64]) -> Polytope:
        """The polytope of the units ``free``, with ``kept`` ones at 1 and all others at 0."""
        own = np.arange(self.A.shape[1] - self.own, self.A.shape[1])
        A, h = self.A[:, np.concatenate([free, own])], self.h - self.A[:, kept].sum(axis=1)
        binding = np.maximum(A, 0.0).sum(axis=1) > h
        return Polytope(A[binding], h[binding], self.own)


class Relaxed(NamedTuple):
    """A point of the relaxation, and the bound (B) there."""

    bound: float
    w: Vector
    x: Vector  # (units + own,): the relaxed mask z and the pattern's own variables y
    scores: Vector  # of the units, none below its exact value


class _Place(NamedTuple):
    """φ at a point, its derivatives in z, and the w that attains it."""

    w: Vector
    value: float
    gradient: Vector  # (units,)
    hessian: Matrix  # (units, units)


def _place(problem: Reduced, B: Matrix, z: Vector) -> _Place | None:
    """φ and its derivatives at the relaxed mask ``z`` of the units; None where M has no Cholesky factor."""
    share = z[problem.unit]
    L = factor(problem.H + B * (1.0 / share - 1.0))
    if L is None:
        return None
    w = back(L, problem.b)
    push = B @ w
    energy = problem.sums(w * push)
    m = len(w)
    across = np.zeros((m, len(z)))
    across[np.arange(m), problem.unit] = push / share**2
    hessian = -across.T @ back(L, across)
    hessian[np.diag_indices(len(z))] += energy / z**3
    return _Place(w, -0.5 * float(problem.b @ w), -0.5 * energy / z**2, hessian)


def relax(
    problem: Reduced,
    split: Split,
    polytope: Polytope,
    start: Vector,
    oracle: Oracle,
    *,
    target: float,
    tolerance: float,
) -> Relaxed | None:
    """Minimize φ from ``start`` (units + own,), and evaluate (B) on the way; None where the arithmetic fails.

    The search stops where the bound reaches ``target``, or where the complementarity is no more than the part
    ``tolerance`` of the bound.
    """
    with np.errstate(all="ignore"):  # a NaN or infinity ends the search
        return _relaxed(problem, split, polytope, start, oracle, target, tolerance)


def _relaxed(
    problem: Reduced, split: Split, polytope: Polytope, start: Vector, oracle: Oracle, target: float, tolerance: float
) -> Relaxed | None:
    """As ``relax``, which silences the floating-point warnings of this function."""
    units, A = len(problem.starts), polytope.A
    p = len(start)
    h = polytope.h + SLACK * (1.0 + np.abs(polytope.h))
    x = np.clip(start, INSIDE, 1.0 - INSIDE)
    place = _place(problem, split.B, x[:units])
    if place is None:
        return None
    offset = 0.5 * float(problem.b @ problem.c)
    size = max(abs(place.value + offset), 1e-12 * offset)
    count = len(h) + 2 * p
    barrier = 0.2 * size / count
    s = np.maximum(h - A @ x, INSIDE)
    y, lower, upper = barrier / s, barrier / x, barrier / (1.0 - x)
    best: Relaxed | None = None
    for _ in range(STEPS):
        mean = float(s @ y + x @ lower + (1.0 - x) @ upper) / count
        if count * mean <= WORTH_A_LOOK * abs(place.value + offset):
            bound, scores = bound_at(problem, split, place.w, oracle)
            if best is None or bound > best.bound:
                best = Relaxed(bound, place.w, x, scores)
            if best.bound >= target or count * mean <= tolerance * abs(best.bound):
                break
        aim = SHARPER * mean
        gradient = np.zeros(p)
        gradient[:units] = place.gradient
        missing = A @ x + s - h
        # Slacks and multipliers are eliminated; what is left is one symmetric system in x.
        K = A.T @ ((y / s)[:, None] * A)
        K[:units, :units] += place.hessian
        K[np.diag_indices(p)] += lower / x + upper / (1.0 - x)
        push = gradient + A.T @ ((aim + y * missing) / s) - aim / x + aim / (1.0 - x)
        L = factor(K + np.diag(np.full(p, 1e-13 * float(K.diagonal().max()))))
        if L is None:
            break
        step = back(L, -push)
        by = A @ step
        ds = -missing - by
        dy, dl, du = (aim - y * ds) / s - y, (aim - lower * step) / x - lower, (aim + upper * step) / (1.0 - x) - upper
        primal = min(room(s, ds, LONGEST), room(x, step, LONGEST), room(1.0 - x, -step, LONGEST))
        dual = min(room(y, dy, LONGEST), room(lower, dl, LONGEST), room(upper, du, LONGEST))
        moved = _place(problem, split.B, np.clip(x + primal * step, NEXT, 1.0 - NEXT)[:units])
        if moved is None:
            break
        x, s, place = np.clip(x + primal * step, NEXT, 1.0 - NEXT), s + primal * ds, moved
        y, lower, upper = y + dual * dy, lower + dual * dl, upper + dual * du
    if best is None:
        bound, scores = bound_at(problem, split, place.w, oracle)
        best = Relaxed(bound, place.w, x, scores)
    return best


def gain_of(problem: Reduced, relaxed: Relaxed) -> Matrix:
    """The derivative of the minimum of φ with respect to B, ½w_uw_uᵀ(1/z_u − 1) for each unit, raised on its diagonal.

    It is raised by the part ``LEAST_GAIN`` of the largest gain, so that B keeps some size everywhere.
    """
    rise = (1.0 / relaxed.x[: len(problem.starts)] - 1.0)[problem.unit]
    gain = np.where(problem.together, 0.5 * np.outer(relaxed.w, relaxed.w) * rise, 0.0)
    squares = problem.H.diagonal()
    largest = float((gain.diagonal() * squares).max())
    return np.asarray(gain + np.diag(LEAST_GAIN * largest / squares))


def improved(
    problem: Reduced,
    split: Split,
    polytope: Polytope,
    relaxed: Relaxed,
    oracle: Oracle,
    *,
    target: float,
    tolerance: float,
    rounds: int,
    share: float,
) -> tuple[Split, Relaxed, float]:
    """Alternate an ascent of B and a relaxation ``rounds`` times; where that does not help, the barrier is lowered.

    ``share`` is the barrier as a part of the mean of ⟨gain, B⟩: 1 to begin with; the last one is returned, to go on
    with.
    """
    gain: Matrix | None = None
    for _ in range(rounds):
        if relaxed.bound >= target:
            break
        fresh = gain_of(problem, relaxed)
        gain = fresh if gain is None else 0.5 * (gain + fresh)
        unit = float((gain * split.B).sum()) / len(gain)
        full = ascended(problem, split, gain, share * unit) if unit > 0.0 else None
        accepted = False
        for step in (1.0, 0.4) if rounds > 1 else (1.0,):
            trial = None if full is None else certified(problem, split.B + step * (full - split.B))
            if trial is None:
                break
            new = relax(problem, trial, polytope, relaxed.x, oracle, target=target, tolerance=tolerance)
            if new is not None and new.bound > relaxed.bound + 1e-4 * abs(relaxed.bound):
                split, relaxed, accepted = trial, new, True
                break
        if not accepted:
            share *= 0.5
            if share < LEAST_SHARE:
                break
    return split, relaxed, share
