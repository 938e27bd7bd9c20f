"""Choice of a splitting H = R + diag(D) + Σ_e q_e u_e u_eᵀ: beyond the diagonal, squares of a few weights each.

Let R be positive definite, D > 0, q ≥ 0, and each u_e supported on a set S_e of at most ``WIDTH`` weights. Then every
mask z, and every w that is zero where z is, satisfy

    ½wᵀHw − bᵀw = ½wᵀRw − bᵀw + ½Σ_i D_i w_i²/z_i + ½Σ_e q_e (u_eᵀw)²/min(1, z(S_e))                            (P)

with z(S) = Σ_{i ∈ S} z_i (A. Atamtürk & A. Gómez, Rank-one convexification for sparse regression, arXiv:1901.10334: the
hull of a rank-one square). The minimum of the right-hand side over w and over 0 ≤ z ≤ 1 with Σz = K in each label is a
lower bound. The right-hand side is jointly convex in (w, z) and its minimum is concave in (D, q), as a minimum of
linear functions, so that the best splitting is a saddle point. It is approached along a path with a falling barrier μ.
Outside, (D, q) maximizes

    min_z φ(z; D, q) + μ(log det R + 0.3·Σ log D_i + 0.1·Σ log q_e).

Inside, φ is the minimum over w plus barriers of z and 1 − z, with a smooth ζ(s) ≤ min(1, s) in the place of min(1, s).
Both problems are solved by damped Newton steps.

At a point of that path a new piece on a set S with q ≈ 0 gains ½(u_Sᵀw_S)²(1/z(S) − 1) at the cost μ·u_Sᵀ(R⁻¹)_SS u_S.
Its best direction is u_S = ((R⁻¹)_SS)⁻¹w_S, and the piece pays where the violation ½w_Sᵀ((R⁻¹)_SS)⁻¹w_S(1/z(S) − 1)/μ
exceeds 1. Sets grow from pairs, one weight at a time.

For any w and z, v = Rw, ρ = b − v − Σ q_e(u_eᵀw/ζ_e)u_e, P_e = ½q_e(u_eᵀw/ζ_e)² and any 0 ≤ θ ≤ 1,

    ½bᵀc − ½wᵀv − Σ_e(1 − θ_e)P_e − (sum of the K largest ρ_i²/(2D_i) + Σ_{e: i ∈ S_e} θ_e P_e)                      (B)

is below the minimum of ½(w − c)ᵀH(w − c) over the masks, c = H⁻¹b. Nothing in this module is a proof, since it does not
account for round-off: the compiled kernels certify R and evaluate (B) for the proof.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.solvers.bounds.interior import factor, inverse_of
from cbs_opt.solvers.bounds.pieces_newton import (
    WIDTH,
    Point,
    Problem,
    Sets,
    ascend,
    bound_at,
    point_at,
    problem_of,
    start,
)
from cbs_opt.solvers.bounds.pieces_pricing import priced
from cbs_opt.solvers.forms.node_state import Room

__all__ = ["MOST_PIECES", "WIDTH", "Pieces", "Splitting", "choose"]

MOST_PIECES = 150
"""Pieces of a splitting at the most."""

ADDED = 20
"""New pieces in a round at the most."""

FREE = 10
"""Where all ``MOST_PIECES`` are in use, a round drops so many to make place for new ones."""

COUNTING = 0.2
"""Pieces with q·uᵀR⁻¹u below this are dropped: the barrier alone holds q at half of it."""

BEGIN = 0.5
"""Pieces are added once μ is below BEGIN·value/m: before that almost any piece seems to pay."""

REDUCTION = 0.6
"""μ falls by this factor from one point of the path to the next."""

STEPS, PATIENCE = 150, 20
"""Newton steps in (D, q) at the most, and after how many without a better bound the path is given up. That happens
where the smooth ζ costs more than a smaller μ gains (near-duplicate inputs at weak damping, where f(0) is 20,000 times
the optimum); on other paths a better bound came after 17 steps at the latest."""


class Pieces(NamedTuple):
    """Rank-one squares (u_eᵀw)², both arrays (E, WIDTH): the weights of each, then −1; their entries of u_e, then 0."""

    members: NDArray[np.int64]
    u: Matrix


class Splitting(NamedTuple):
    """H = R + diag(D) + Σ q_e u_e u_eᵀ with R positive definite, the relaxed mask z, and the bound (B) reached."""

    pieces: Pieces
    D: Vector  # shape (m,)
    q: Vector  # shape (E,)
    z: Vector  # shape (m,)
    bound: float


def choose(
    H: Matrix, b: Vector, room: Room, value: float, accuracy: float, patience: int = PATIENCE
) -> Splitting | None:
    """A splitting whose bound (B) on ½(w − c)ᵀH(w − c), over the masks that ``room`` allows, is nearly the best.

    Parameters
    ----------
    H : array, shape (m, m)
        Positive definite.
    b : array, shape (m,)
        b = Hc.
    room : Room
        How many weights of each label may be kept: at least one and not all.
    value : float
        The value of some mask, > 0.
    accuracy : float
        The part of ``value`` by which the bound may be short of the best, about: the path ends at μ = accuracy·value/m.
    patience : int
        After how many Newton steps without a better bound the path is given up.

    Returns
    -------
    Splitting or None
        None where H is not positive definite in floating point, or ``value`` not a positive number.
    """
    with np.errstate(all="ignore"):
        s = np.sqrt(H.diagonal())
        if not (0.0 < value < np.inf and np.isfinite(s).all() and s.min() > 0.0):
            return None
        problem = problem_of(H / s / s[:, None], b / s / np.sqrt(value), room)
        point = None if problem is None else start(problem)
        if problem is None or point is None:
            return None
        return _in_units_of(H, s, value, problem, _follow(problem, point, accuracy / len(b), patience))


def _follow(problem: Problem, point: Point, least: float, patience: int) -> Point:
    """The point of best bound on the path from ``point`` to μ = ``least``, with pieces dropped and added on the way."""
    m = len(point.D)
    best, reached, twice = point, bound_at(problem, point), False
    idle = 0
    for _ in range(STEPS):
        point, central = ascend(problem, point)
        bound = bound_at(problem, point)
        idle = 0 if bound > 1.001 * reached else idle + 1
        if bound > reached:
            best, reached = point, bound
        if idle == patience:
            break
        if not central:
            continue
        if point.mu <= least:
            break
        sets, q, mu = point.sets, point.q, point.mu
        renewed = _renewed(problem, point) if mu * m < BEGIN else None
        if renewed is not None:
            sets, q = renewed
        # Pieces are added twice at the same μ, the second time for sets that are still violated after the first.
        twice = renewed is not None and not twice
        if not twice:
            mu = max(REDUCTION * mu, least)
        following = point_at(problem, sets, point.D, q, point.inner.z, mu)
        if following is None:
            break
        point = following
    return best


def _renewed(problem: Problem, point: Point) -> tuple[Sets, Vector] | None:
    """The pieces and q of ``point``, without pieces that hardly count and with new ones; None where no new one pays."""
    sets, q, R = point.sets, point.q, point.R
    taken = inverse_of(R)
    if taken is None:
        return None
    if len(q):
        counts = q * (sets.U * (taken @ sets.U)).sum(0)
        excess = len(q) - (MOST_PIECES - FREE)
        stays = counts >= max(COUNTING, np.sort(counts)[excess] if excess > 0 else 0.0)
        sets, q = sets.keep(stays), q[stays]
        R = _rest(problem, point.D, sets, q)
        taken = inverse_of(R)
        if taken is None:
            return None
    index, inside, u = priced(taken, point.inner.w, point.inner.z, point.mu, min(ADDED, MOST_PIECES - len(q)))
    if not len(u):
        return None
    sets = sets.join(index, inside, u)
    new = sets.U[:, len(q) :]
    first = 0.1 / (new * (taken @ new)).sum(0)
    for _ in range(40):
        if factor(_rest(problem, point.D, sets, np.append(q, first))) is not None:
            return sets, np.append(q, first)
        first = 0.5 * first
    return None


def _rest(problem: Problem, D: Vector, sets: Sets, q: Vector) -> Matrix:
    """R = H − diag(D) − Σ q_e u_e u_eᵀ."""
    return problem.H - np.diag(D) - sets.gram(sets.u, q, sets.u)


def _in_units_of(H: Matrix, s: Vector, value: float, problem: Problem, point: Point) -> Splitting | None:
    """``point`` as a splitting of H, with D and q shrunk until R has a Cholesky factor; None where it never has."""
    sets = point.sets
    u = sets.u * s[sets.places]
    D = point.D * s * s
    taken = np.diag(D) + sets.gram(u, point.q, u)
    for part in (1.0, *(1.0 - 0.5**k for k in range(10, 0, -1)), 1e-3, 1e-6):
        if factor(H - part * taken) is not None:
            break
    else:
        return None
    q = part * point.q
    bound = value * bound_at(problem, point._replace(D=part * point.D, q=q))
    members = np.where(sets.inside > 0, sets.places, -1)
    return Splitting(Pieces(members, u), part * D, q, point.inner.z, bound) if np.isfinite(bound) else None
