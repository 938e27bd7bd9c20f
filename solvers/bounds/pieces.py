"""Choice of a splitting H = R + diag(D) + Σ_e q_e u_e u_eᵀ: beyond the diagonal, squares of a few weights each.

With R positive definite, D > 0, q ≥ 0 and u_e supported on a set S_e of at most ``WIDTH`` weights, every mask z and
every w that it allows satisfy

    ½wᵀHw − bᵀw = ½wᵀRw − bᵀw + ½Σ_i D_i w_i²/z_i + ½Σ_e q_e (u_eᵀw)²/min(1, z(S_e))                            (P)

(A. Atamtürk & A. Gómez, Rank-one convexification for sparse regression, arXiv:1901.10334: the hull of a rank-one
square). Over 0 ≤ z ≤ 1, Σz = K in each label, the minimum of the right-hand side is a lower bound: jointly convex in
(w, z), concave (a minimum of linear functions) in (D, q), so that the best splitting is a saddle point. It is followed
along a barrier μ: outside max over (D, q) of

    min_z φ(z; D, q) + μ(log det R + 0.3·Σ log D_i + 0.1·Σ log q_e),

inside φ = min over w, with barriers of z and 1 − z and the smooth ζ(s) ≤ min(1, s); damped Newton steps in both.

At a point of that path a new piece on S, q ≈ 0, gains ½(u_Sᵀw_S)²(1/z(S) − 1) at the cost μ·u_Sᵀ(R⁻¹)_SS u_S. The
best direction is u_S = ((R⁻¹)_SS)⁻¹w_S, and it pays where the violation ½w_Sᵀ((R⁻¹)_SS)⁻¹w_S(1/z(S) − 1)/μ exceeds 1.
Sets grow from pairs, one weight at a time.

For any w and z, v = Rw, ρ = b − v − Σ q_e(u_eᵀw/ζ_e)u_e, P_e = ½q_e(u_eᵀw/ζ_e)² and any 0 ≤ θ ≤ 1,

    ½bᵀc − ½wᵀv − Σ_e(1 − θ_e)P_e − (sum of the K largest ρ_i²/(2D_i) + Σ_{e: i ∈ S_e} θ_e P_e)                      (B)

is below the minimum of ½(w − c)ᵀH(w − c), c = H⁻¹b. Nothing here is a proof: the kernels certify R and evaluate (B).
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
"""New pieces of a round at the most."""

FREE = 10
"""Places that a round with all pieces in use frees for new ones."""

COUNTING = 0.2
"""Pieces with q·uᵀR⁻¹u below it are dropped: the barrier alone holds q at half of that."""

BEGIN = 0.5
"""Pieces are added from μ = BEGIN·value/m on: before that almost anything seems to pay."""

REDUCTION = 0.6
"""Of μ, from one point of the path to the next."""

STEPS, IDLE = 150, 20
"""Newton steps in (D, q) at the most, and without a better bound: then what ζ's rounded kink costs grows faster than μ
falls (near-duplicates at weak damping, where f(0) is 20,000 times the optimum); other paths waited up to 17."""


class Pieces(NamedTuple):
    """Rank-one squares (u_eᵀw)²: ``members`` first and −1 after, shape (E, WIDTH); ``u`` in their order, 0 after."""

    members: NDArray[np.int64]
    u: Matrix


class Splitting(NamedTuple):
    """H = R + diag(D) + Σ q_e u_e u_eᵀ with R positive definite, the relaxed mask z, and the bound (B) reached."""

    pieces: Pieces
    D: Vector  # shape (m,)
    q: Vector  # shape (E,)
    z: Vector  # shape (m,)
    bound: float


def choose(H: Matrix, b: Vector, room: Room, value: float, accuracy: float) -> Splitting | None:
    """A splitting whose bound on min ½(w − c)ᵀH(w − c) with what ``room`` allows kept is nearly the best of its kind.

    Parameters
    ----------
    H : array, shape (m, m)
    b : array, shape (m,)
        Hc.
    room : Room
        Some weight of each label may be kept, and not all.
    value : float
        Value of a mask.
    accuracy : float
        The part of ``value`` that the bound may fall short of its best by: the path ends at μ = accuracy·value/m.

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
        return _in_units_of(H, s, value, problem, _follow(problem, point, accuracy / len(b)))


def _follow(problem: Problem, point: Point, least: float) -> Point:
    """The best point of the path from ``point`` to the least μ, pieces dropped and added on the way."""
    m = len(point.D)
    best, reached, twice = point, bound_at(problem, point), False
    idle = 0
    for _ in range(STEPS):
        point, central = ascend(problem, point)
        bound = bound_at(problem, point)
        idle = 0 if bound > 1.001 * reached else idle + 1
        if bound > reached:
            best, reached = point, bound
        if idle == IDLE:
            break
        if not central:
            continue
        if point.mu <= least:
            break
        sets, q, mu = point.sets, point.q, point.mu
        renewed = _renewed(problem, point) if mu * m < BEGIN else None
        if renewed is not None:
            sets, q = renewed
        # Two rounds of new pieces at every other μ: the second for what the first has left violated.
        twice = renewed is not None and not twice
        if not twice:
            mu = max(REDUCTION * mu, least)
        following = point_at(problem, sets, point.D, q, point.inner.z, mu)
        if following is None:
            break
        point = following
    return best


def _renewed(problem: Problem, point: Point) -> tuple[Sets, Vector] | None:
    """The pieces and q of ``point`` without those that hardly count and with new ones; None where none pays."""
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
    return problem.H - np.diag(D) - sets.gram(sets.u, q, sets.u)


def _in_units_of(H: Matrix, s: Vector, value: float, problem: Problem, point: Point) -> Splitting | None:
    """``point`` as a splitting of H, D and q shrunk until what is left has a Cholesky factor; None where none will."""
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
