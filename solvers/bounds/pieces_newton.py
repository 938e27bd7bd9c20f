"""Newton's method along the barrier path of ``pieces``: inside the relaxed mask z, outside the splitting (D, q)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector
from cbs_opt.solvers.bounds.interior import back, factor, forward, room
from cbs_opt.solvers.forms.node_state import ROUNDING, Room

WIDTH = 8
"""Weights of a piece at the most."""

PULL_D, PULL_Q = 0.3, 0.1
"""Weights of the barriers of D and q, in units of μ."""


class Problem(NamedTuple):
    """½(w − c)ᵀH(w − c) over the masks of ``room``, in units where H_ii = 1 and the value of the incumbent is 1."""

    H: Matrix
    b: Vector
    room: Room
    A: Matrix  # (m, labels), the indicators of the labels
    const: float  # ½bᵀc
    least: float  # the smallest eigenvalue of H


class Sets(NamedTuple):
    """Pieces, in the forms that sums over them need."""

    places: NDArray[np.int64]  # (E, WIDTH), 0 where there is no member
    inside: Matrix  # (E, WIDTH), 1 at members
    u: Matrix  # (E, WIDTH)
    flat: NDArray[np.int64]  # positions of the pairs of members in an (m, m) matrix
    U: Matrix  # (m, E), the columns u_e
    S: Matrix  # (m, E), indicators
    m: int

    @classmethod
    def of(cls, index: NDArray[np.int64], inside: Matrix, u: Matrix, m: int) -> Sets:
        """The pieces with the weights ``index`` where ``inside`` is 1, and entries ``u``, all (E, WIDTH)."""
        U, S = np.zeros((m, len(u)), order="F"), np.zeros((m, len(u)), order="F")
        e, p = np.nonzero(inside)
        U[index[e, p], e], S[index[e, p], e] = u[e, p], 1.0
        flat = index[:, :, None] * m + index[:, None, :]
        return cls(index, inside, u, flat.ravel(), U, S, m)

    def gram(self, left: Matrix, factors: Vector, right: Matrix) -> Matrix:
        """Σ_e factors_e·left_e right_eᵀ for vectors given at the members, shape (m, m)."""
        values = (left * factors[:, None])[:, :, None] * right[:, None, :]
        m = self.m
        return np.bincount(self.flat, values.ravel(), minlength=m * m).reshape(m, m).astype(float, copy=False)

    def total(self, z: Vector) -> Vector:
        """z(S_e), shape (E,)."""
        return (z[self.places] * self.inside).sum(1)

    def along(self, w: Vector) -> Vector:
        """u_eᵀw, shape (E,)."""
        return (self.u * w[self.places]).sum(1)

    def spread(self, values: Vector) -> Vector:
        """For each weight the sum of ``values`` (E,) over the sets that hold it, shape (m,)."""
        spread = np.bincount(self.places.ravel(), (self.inside * values[:, None]).ravel(), minlength=self.m)
        return spread.astype(float, copy=False)

    def keep(self, chosen: NDArray[np.bool_]) -> Sets:
        """The ``chosen`` pieces only."""
        return Sets.of(self.places[chosen], self.inside[chosen], self.u[chosen], self.m)

    def join(self, index: NDArray[np.int64], inside: Matrix, u: Matrix) -> Sets:
        """These pieces followed by others, given as in ``of``."""
        stacked = np.vstack([self.places, index])
        return Sets.of(stacked, np.vstack([self.inside, inside]), np.vstack([self.u, u]), self.m)


class Inner(NamedTuple):
    """The relaxed mask for a splitting and a barrier, and the factors that its sensitivity needs."""

    value: float  # φ with its barriers, without ½bᵀc
    w: Vector
    z: Vector
    L: Matrix  # of M = R + diag(D/z) + Σ q_e/ζ_e u_e u_eᵀ
    Y: Matrix  # L⁻¹ times the mixed second derivatives in w and z
    F: Matrix  # Cholesky factor of the Hessian in z


class Point(NamedTuple):
    """A point of the barrier path: a splitting (D, q) with its pieces and R, the inner solution, and μ."""

    sets: Sets
    D: Vector
    q: Vector
    R: Matrix
    inner: Inner
    mu: float
    height: float  # of the outer objective


def _gram(A: Matrix) -> Matrix:
    """AᵀA; only its lower triangle is filled."""
    return blas.dsyrk(1.0, A, trans=1, lower=1)


def _diagonal(A: Matrix) -> Vector:
    """The diagonal of a square matrix, as a view that can be written to."""
    return np.einsum("ii->i", A)


def smooth(s: Vector) -> tuple[Vector, Vector, Vector]:
    """ζ ≤ min(1, s) with its two derivatives."""
    root = np.sqrt((1 - s) ** 2 + 4 * ROUNDING)
    return 0.5 * (1 + s - root), 0.5 * (1 + (1 - s) / root), -2 * ROUNDING / root**3


def problem_of(H: Matrix, b: Vector, room: Room) -> Problem | None:
    """The problem of H with unit diagonal, b and ``room``; None where H is not positive definite in floating point."""
    if not (np.isfinite(H).all() and np.isfinite(b).all()):
        return None
    L = factor(H)
    if L is None:
        return None
    c = back(L, b)
    least = float(lapack.dsyevr(H, compute_v=0, range="I", il=1, iu=1)[0][0])
    # bᵀc − ½cᵀHc is exact to second order in the error of c.
    A = (room.labels[:, None] == np.arange(len(room.room))).astype(float)
    return Problem(H, b, room, A, float(b @ c - 0.5 * c @ (H @ c)), least) if least > len(b) * EPS else None


def start(problem: Problem) -> Point | None:
    """The first point of the path, without pieces: D is half of the smallest eigenvalue, and z the same in a label."""
    m = len(problem.b)
    none = np.zeros((0, WIDTH))
    sets = Sets.of(none.astype(np.int64), none, none, m)
    D, z = np.full(m, 0.5 * problem.least), (problem.room.room / problem.A.sum(0))[problem.room.labels]
    L = factor(problem.H + np.diag(D * (1 / z - 1)))
    if L is None:
        return None
    w = back(L, problem.b)
    mu = max(float(np.mean(0.5 * w**2 * (1 / z - 1) * D)), 0.1 / m)
    return point_at(problem, sets, D, np.zeros(0), z, mu)


def point_at(problem: Problem, sets: Sets, D: Vector, q: Vector, z: Vector, mu: float) -> Point | None:
    """The point with splitting (D, q), its inner problem solved from ``z``; None where R is not positive definite."""
    R = problem.H - sets.gram(sets.u, q, sets.u)
    _diagonal(R)[:] -= D
    L = factor(R)
    inner = None if L is None else _relax(problem, sets, D, q, R, z, mu)
    if L is None or inner is None:
        return None
    logs = 2 * np.log(L.diagonal()).sum() + PULL_D * np.log(D).sum() + PULL_Q * np.log(q).sum()
    return Point(sets, D, q, R, inner, mu, inner.value + mu * float(logs))


def _relaxed(
    problem: Problem, sets: Sets, D: Vector, q: Vector, R: Matrix, z: Vector, mu: float
) -> tuple[float, Matrix, Vector, tuple[Vector, Vector, Vector]] | None:
    """φ with the barriers of z at ``z``, the factor of M, the minimizing w, and ζ of the pieces with its derivatives.

    None where z is not inside 0 < z < 1, or M has no factor.
    """
    if not (z.min() > 0 and z.max() < 1):
        return None
    kinks = smooth(sets.total(z))
    M = R + sets.gram(sets.u, q / kinks[0], sets.u)
    _diagonal(M)[:] += D / z
    L = factor(M)
    if L is None:
        return None
    w = back(L, problem.b)
    return -0.5 * float(problem.b @ w) - mu * float(np.log(z).sum() + np.log1p(-z).sum()), L, w, kinks


def _near(central: Vector, multipliers: Vector) -> Vector:
    """``multipliers``, each brought within a factor of ten of its value on the path, ``central``."""
    return np.minimum(np.maximum(multipliers, 0.1 * central), 10 * central)


def _relax(problem: Problem, sets: Sets, D: Vector, q: Vector, R: Matrix, z: Vector, mu: float) -> Inner | None:
    """Minimize φ with its barriers over z, by primal-dual Newton steps from ``z``, until a step promises little."""
    found = _relaxed(problem, sets, D, q, R, z, mu)
    if found is None:
        return None
    value, L, w, (zeta, slope, bend) = found
    upper, lower = mu / (1 - z), mu / z
    sides = np.empty((len(z), 1 + problem.A.shape[1]), order="F")
    for _ in range(60):
        t = sets.along(w)
        pull = 0.5 * q * (t / zeta) ** 2
        gradient = -0.5 * D * (w / z) ** 2 + mu / (1 - z) - mu / z - sets.spread(slope * pull)
        cross = sets.gram(sets.u, -q * t / zeta**2 * slope, sets.inside)
        _diagonal(cross)[:] -= D * w / z**2
        Y = forward(L, cross)
        hessian = sets.gram(sets.inside, pull * (2 * slope**2 / zeta - bend), sets.inside) - _gram(Y).T
        _diagonal(hessian)[:] += D * w**2 / z**3 + upper / (1 - z) + lower / z
        F, info = lapack.dpotrf(hessian.T, lower=1, clean=1)
        if info:
            return None
        sides[:, 0], sides[:, 1:] = gradient, problem.A
        X = back(F, sides)
        by_label = problem.A.T @ X
        schur = factor(by_label[:, 1:])
        if schur is None:
            return None
        nu = back(schur, problem.A.T @ z - problem.room.room - by_label[:, 0])
        d = -X[:, 0] - X[:, 1:] @ nu
        if not -(gradient + problem.A @ nu) @ d >= 0.02 * mu:
            return Inner(value, w, z, L, Y, F)
        step = min(room(z, d, 0.9), room(1 - z, -d, 0.9))
        d_upper, d_lower = mu / (1 - z) - upper + upper * d / (1 - z), mu / z - lower - lower * d / z
        dual = min(room(upper, d_upper, 0.9), room(lower, d_lower, 0.9))
        while True:
            found = _relaxed(problem, sets, D, q, R, z + step * d, mu)
            if found is not None and found[0] <= value + 1e-13 * abs(value):
                break
            step *= 0.5
            if step < 1e-6:
                return Inner(value, w, z, L, Y, F)
        z = z + step * d
        value, L, w, (zeta, slope, bend) = found
        upper = _near(mu / (1 - z), upper + dual * d_upper)
        lower = _near(mu / z, lower + dual * d_lower)
    return Inner(value, w, z, L, Y, F)


def _direction(problem: Problem, point: Point) -> tuple[Vector, float] | None:
    """Newton's direction in (D, q), and the rise of the outer objective that it promises."""
    sets, D, q, R, inner, mu, _ = point
    w, z = inner.w, inner.z
    m = len(D)
    zeta, slope, _ = smooth(sets.total(z))
    t = sets.along(w)
    L = factor(R)
    if L is None:
        return None
    G = _gram(forward(L, np.hstack([np.eye(m), sets.U])))
    weights, pulls = np.append(D, q), np.append(np.full(m, PULL_D), np.full(len(q), PULL_Q))
    gains = np.append(0.5 * w**2 * (1 / z - 1), 0.5 * t**2 * (1 / zeta - 1))
    gradient = gains + mu * (pulls / weights - G.diagonal())
    by_w = forward(inner.L, np.hstack([np.diag(w * (1 / z - 1)), sets.U * (t * (1 / zeta - 1))]))
    by_z = np.hstack([np.diag(-0.5 * (w / z) ** 2), -sets.S * (0.5 * slope * (t / zeta) ** 2)])
    solved = forward(inner.F, np.column_stack([by_z - inner.Y.T @ by_w, problem.A]))
    X, normals = solved[:, : len(weights)], solved[:, len(weights) :]
    along = normals.T @ X
    schur = factor(normals.T @ normals)
    if schur is None:
        return None
    hessian = _gram(np.vstack([by_w, X])) - _gram(forward(schur, along)) + mu * G * G
    _diagonal(hessian)[:] += mu * pulls / weights**2
    F, info = lapack.dpotrf(hessian, lower=1)
    if info:
        return None
    d = back(F, gradient)
    rise = float(gradient @ d)
    return (d, rise) if np.isfinite(rise) else None


def ascend(problem: Problem, point: Point) -> tuple[Point, bool]:
    """The point after one damped Newton step in (D, q), and whether it is central enough to go on to the next μ."""
    found = _direction(problem, point)
    if found is None:
        return point, True
    d, rise = found
    m, mu = len(point.D), point.mu
    step = min(room(point.D, d[:m], 0.95), room(point.q, d[m:], 0.95))
    while step > 1e-3:
        D, q = point.D + step * d[:m], point.q + step * d[m:]
        moved = point_at(problem, point.sets, D, q, point.inner.z, mu)
        if moved is not None and moved.height >= point.height + 1e-4 * step * rise - 1e-12 * abs(point.height):
            return moved, rise < 2 * mu or (step == 1.0 and rise < 0.3 * mu * m)
        step *= 0.5
    return point, True


def bound_at(problem: Problem, point: Point) -> float:
    """The bound (B) of ``pieces`` at ``point`` with θ_e = ζ'(z(S_e)), without any account of round-off."""
    sets, D, q, _, inner, _, _ = point
    w = inner.w
    zeta, slope, _ = smooth(sets.total(inner.z))
    tension = q * sets.along(w) / zeta
    v = problem.H @ w - D * w - sets.U @ (q * sets.along(w))
    rho = problem.b - v - sets.U @ tension
    P = 0.5 * tension**2 / q
    scores = rho**2 / (2 * D) + sets.spread(slope * P)
    labels, most = problem.room
    order = np.lexsort((-scores, labels))
    place = np.arange(len(D)) - np.searchsorted(labels[order], labels[order])
    top = scores[order][place < most[labels[order]]].sum()
    return float(problem.const - 0.5 * w @ v - ((1 - slope) * P).sum() - top)
