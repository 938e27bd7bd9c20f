"""Bound (B) for any pattern, with a block of the curvature split off for every unit of weights that stay or go together.

    H = R + B,   R ⪰ 0,   B block-diagonal over the units (``Pattern.units``), B_u ≻ 0.

Around the minimizer c (f = ½(w − c)ᵀH(w − c)), with e = w' − c, any point w, d = w − c and q = Rd,

    f(w') ≥ −½dᵀq + Σ_u (q_uᵀe_u + ½e_uᵀB_ue_u),

since ½eᵀRe ≥ qᵀe − ½dᵀq. A unit that goes (e_u = −c_u) costs ½c_uᵀB_uc_u − q_uᵀc_u, one that stays at least
−½q_uᵀB_u⁻¹q_u; the difference is its score s_u = ½t_uᵀB_u⁻¹t_u with t = Bc − q, so that

    f(w') ≥ −½dᵀq + ½cᵀBc − qᵀc − max_{z ∈ Z} Σ_u z_u s_u                                                        (B)

for every w' whose support is in Z: the pattern is asked for ``most`` of the scores, and for nothing else. The best w
gives the relaxation min {½wᵀRw − bᵀw + ½ Σ w_uᵀB_uw_u/z_u : z ∈ conv Z}, b = Hc, which is convex and smooth in
z > 0 with derivatives −½w_uᵀB_uw_u/z_u²: these are the scores, and the mask that the oracle finds for them is the
vertex of conv Z to take in next (a fully corrective Frank–Wolfe method; M. Jaggi, ICML 2013). Where units are single
weights, this is the bound of ``perspective``; blocks of larger ones keep what the weights of a unit have to do with one
another out of the relaxation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector

Oracle = Callable[[Vector], tuple[Mask, float]]
"""``oracle(scores of the units)`` → the units that the best mask keeps, and a number that no mask's sum exceeds."""

VERTICES = 40
"""Masks that a relaxation holds at the most; the lightest go."""

CENTRED = 0.1
"""A Newton decrement below this, in units of the barrier, is the end of a step along the path."""

LEAST_GAIN = 4e-3
"""In every direction of a unit, and for every unit, the ascent of B counts at least this part of the largest gain."""

LEAST_PART = 0.02
"""No direction of B_u falls below this part of what R could give up there."""


class Reduced(NamedTuple):
    """The free weights of a node, those of one unit one after the other: f = ½(w − c)ᵀH(w − c)."""

    H: Matrix
    c: Vector
    b: Vector  # Hc
    unit: NDArray[np.int64]  # of each weight, 0 … units − 1, ascending
    starts: NDArray[np.int64]  # the first weight of each unit
    shift: float  # round-off of H and of a Cholesky factorization of R

    def sums(self, values: Vector) -> Vector:
        """Of each unit, shape (units,)."""
        return np.add.reduceat(values, self.starts)

    def blocks(self) -> list[slice]:
        """The weights of each unit."""
        ends = np.append(self.starts[1:], len(self.c))
        return [slice(int(first), int(end)) for first, end in zip(self.starts, ends, strict=True)]

    @property
    def together(self) -> Mask:
        """Which pairs of weights are of one unit, shape (m, m)."""
        return self.unit[:, None] == self.unit


class Relaxed(NamedTuple):
    """A point of the relaxation, and the bound (B) there."""

    bound: float
    value: float  # of the relaxation, as far as it has been minimized
    w: Vector
    z: Vector  # of the units
    scores: Vector  # of the units, none too small
    masks: Matrix  # the vertices, (k, units)
    weights: Vector  # of the vertices, Σ = 1


def factor(A: Matrix) -> Matrix | None:
    """The Cholesky factor, None where there is none."""
    L, info = lapack.dpotrf(A, lower=1, clean=1)
    return L if info == 0 and np.isfinite(L[-1, -1]) else None


def solved(L: Matrix, x: Matrix) -> Matrix:
    """(LLᵀ)⁻¹x."""
    return np.asarray(lapack.dpotrs(L, x, lower=1)[0])


def first_blocks(problem: Reduced) -> Matrix | None:
    """B in proportion to the blocks of H, nearly as large as H allows; None where H is not positive definite."""
    blocks = np.where(problem.together, problem.H, 0.0)
    L = factor(blocks)
    if L is None:
        return None
    inner = lapack.dtrtrs(L, problem.H, lower=1)[0]
    inner = lapack.dtrtrs(L, inner.T, lower=1)[0]
    least = float(np.linalg.eigvalsh((inner + inner.T) / 2)[0])
    return certified(problem, 0.9 * least * blocks) if least > 0.0 else None


def certified(problem: Reduced, B: Matrix) -> Matrix | None:
    """B, shrunk until R = H − B is shown to be positive semidefinite; None where none will do."""
    more = np.eye(len(B)) * (problem.shift + 4.0 * EPS * float(np.abs(problem.H.diagonal()).sum()))
    for attempt in range(60):
        if factor(problem.H - B - more) is not None:
            return B
        B = B * (1.0 - 0.5 ** max(1, 10 - attempt))
    return None


def bound_at(problem: Reduced, B: Matrix, w: Vector, oracle: Oracle) -> tuple[float, Vector, Mask]:
    """(B) at w from below, round-off subtracted; the scores, none too small; the units of the oracle's mask.

    B_u⁻¹ is not trusted: with y ≈ B⁻¹t, what is left ρ = t − By and β_u ≤ λ_min(B_u),
    t_uᵀB_u⁻¹t_u ≤ y_uᵀB_uy_u + 2y_uᵀρ_u + ‖ρ_u‖²/β_u.
    """
    m = len(w)
    slip = (m + 4) * EPS
    R, c = problem.H - B, problem.c
    d = w - c
    q, standing = R @ d, B @ c
    size_q, size_standing = np.abs(R) @ np.abs(d), np.abs(B) @ np.abs(c)
    t = standing - q
    scores = np.empty(len(problem.starts))
    for u, at in enumerate(problem.blocks()):
        scores[u] = _score(B[at, at], t[at], slip * (size_q[at] + size_standing[at]), slip)
    if not np.isfinite(scores).all():
        return -np.inf, np.zeros(len(scores)), np.ones(len(scores), dtype=np.bool_)
    mask, most = oracle(scores)
    value = -0.5 * float(d @ q) + 0.5 * float(c @ standing) - float(q @ c) - most
    doubt = 2.0 * slip * float((np.abs(d) + np.abs(c)) @ size_q + np.abs(c) @ size_standing + abs(most))
    return value - doubt, scores, mask


def _score(B: Matrix, t: Vector, doubt: Vector, slip: float) -> float:
    """½tᵀB⁻¹t of one unit, or a little more; inf where B is not shown to be positive definite."""
    if len(t) == 1:
        reach = abs(float(t[0])) + float(doubt[0])
        return 0.5 * reach * reach / float(B[0, 0]) * (1.0 + slip) if B[0, 0] > 0.0 else np.inf
    L = factor(B)
    least = float(np.linalg.eigvalsh(B)[0]) - 4.0 * len(t) * EPS * float(B.trace())
    if L is None or not least > 0.0:
        return np.inf
    y = solved(L, t)
    by = B @ y
    size = np.abs(B) @ np.abs(y)
    left = np.abs(t - by) + doubt + slip * (size + np.abs(t))
    total = float(y @ by) + slip * float(np.abs(y) @ size) + 2.0 * float(np.abs(y) @ left) + float(left @ left) / least
    return 0.5 * total * (1.0 + slip)


def relax(
    problem: Reduced,
    B: Matrix,
    masks: Matrix,
    weights: Vector,
    oracle: Oracle,
    *,
    target: float,
    tolerance: float,
    rounds: int,
) -> Relaxed | None:
    """Minimize the relaxation for this B, from the vertices ``masks`` (k, units); None where its arithmetic fails.

    Stops at ``target``, at the relative ``tolerance`` of the bound, or after so many ``rounds`` of the oracle.
    """
    best: Relaxed | None = None
    offset = 0.5 * float(problem.b @ problem.c)
    for _ in range(rounds):
        found = _corrected(problem, B, masks, weights, offset, tolerance)
        if found is None:
            break
        weights, z, w, value = found
        bound, scores, vertex = bound_at(problem, B, w, oracle)
        if best is None or bound > best.bound:
            best = Relaxed(bound, value, w, z, scores, masks, weights)
        if bound >= target or value - best.bound <= tolerance * abs(best.bound):
            break
        stays = np.argsort(-weights)[: VERTICES - 1]
        stays = stays[weights[stays] > 1e-7]
        if (masks[stays] == vertex).all(axis=1).any():
            break  # it is there already: what is left is the barrier's
        masks = np.vstack([masks[stays], vertex])
        weights = np.append(0.9 * weights[stays] / weights[stays].sum(), 0.1)
    return best


def _corrected(
    problem: Reduced, B: Matrix, masks: Matrix, weights: Vector, offset: float, tolerance: float
) -> tuple[Vector, Vector, Vector, float] | None:
    """The minimum over the hull of ``masks``, nearly: Newton's method in their weights along a barrier.

    Returns weights, z, w and the value.
    """
    k = len(masks)
    point = _point(problem, B, masks, weights)
    if point is None:
        return None
    if k == 1:
        z, w, value, _, _ = point
        return weights, z, w, value + offset
    size = abs(point[2] + offset)
    least = 0.05 * tolerance * max(size, 1e-12 * offset) / k
    barrier = max(least, 0.1 * size / k)
    for _ in range(60):
        z, w, value, gradient, hessian = point
        slope = masks @ gradient - barrier / weights
        curved = masks @ hessian @ masks.T + np.diag(barrier / weights**2)
        L = factor(curved)
        if L is None:
            return None
        X = solved(L, np.column_stack([slope, np.ones(k)]))
        step = -X[:, 0] + X[:, 0].sum() / X[:, 1].sum() * X[:, 1]
        decrement = -float(slope @ step)
        if decrement < CENTRED * barrier:
            if barrier <= least:
                break
            barrier = max(0.1 * barrier, least)
            continue
        falling = step < 0.0
        length = min(1.0, 0.9 * float((weights[falling] / -step[falling]).min())) if falling.any() else 1.0
        height = value - barrier * float(np.log(weights).sum())
        while length > 1e-6:
            moved = weights + length * step
            trial = _point(problem, B, masks, moved)
            if trial is not None and trial[2] - barrier * float(np.log(moved).sum()) <= height - 1e-3 * length * decrement:
                break
            length *= 0.5
        else:
            if barrier <= least:
                break
            barrier = max(0.1 * barrier, least)
            continue
        weights, point = moved / moved.sum(), trial
    z, w, value, _, _ = point
    return weights, z, w, value + offset


def _point(
    problem: Reduced, B: Matrix, masks: Matrix, weights: Vector
) -> tuple[Vector, Vector, float, Vector, Matrix] | None:
    """z, the minimizing w, the value less ½bᵀc, its gradient and Hessian in z; units that no vertex keeps are at 0."""
    z = np.minimum(weights @ masks, 1.0)
    inside = z > 0.0
    gradient, hessian = np.zeros(len(z)), np.zeros((len(z), len(z)))
    active = np.flatnonzero(inside[problem.unit])
    w = np.zeros(len(problem.c))
    if not active.size:
        return z, w, 0.0, gradient, hessian
    share = z[problem.unit]
    square = np.ix_(active, active)
    L = factor(problem.H[square] + B[square] * (1.0 / share[active] - 1.0))
    if L is None:
        return None
    w[active] = solved(L, problem.b[active])
    push = B @ w
    energy = problem.sums(w * push)
    with np.errstate(divide="ignore", invalid="ignore"):
        gradient[inside] = -0.5 * energy[inside] / z[inside] ** 2
        across = np.zeros((len(active), len(z)))
        across[np.arange(len(active)), problem.unit[active]] = push[active] / share[active] ** 2
        hessian = -across.T @ solved(L, across)
        hessian[inside, inside] += energy[inside] / z[inside] ** 3
    return z, w, -0.5 * float(problem.b @ w), gradient, hessian


def ascended(problem: Reduced, B: Matrix, gain: Matrix, barrier: float) -> Matrix | None:
    """One sweep over the units on max ⟨gain, B⟩ + barrier·log det(H − B); None where R is not positive definite.

    With X = ((R⁻¹)_uu)⁻¹ + B_u, the most that R could give up to unit u, and X = LLᵀ, the best L⁻¹B_uL⁻ᵀ has the
    eigenvectors of LᵀGL, and the eigenvalues 1 − barrier/γ: the step 1/(R⁻¹)_ii − barrier/gain of single weights.
    """
    L = factor(problem.H - B)
    if L is None:
        return None
    inverse = solved(L, np.eye(len(B)))
    B = B.copy()
    for at in problem.blocks():
        C = inverse[at, at]
        lower = factor(C)
        if lower is None:
            return None
        most = solved(lower, np.eye(len(C))) + B[at, at]
        root = factor((most + most.T) / 2)
        if root is None:
            return None
        gains, along = np.linalg.eigh(root.T @ gain[at, at] @ root)
        part = np.clip(1.0 - barrier / np.maximum(gains, 1e-300), LEAST_PART, 1.0)
        side = root @ along
        new = (side * part) @ side.T
        step = (new + new.T) / 2 - B[at, at]
        # R falls by the step: (R − EΔEᵀ)⁻¹ = R⁻¹ + R⁻¹E(I − ΔC)⁻¹ΔEᵀR⁻¹.
        try:
            middle = np.linalg.solve(np.eye(len(C)) - step @ C, step)
        except np.linalg.LinAlgError:
            continue
        inverse = inverse + inverse[:, at] @ ((middle + middle.T) / 2) @ inverse[at, :]
        B[at, at] += step
    return B


def gain_of(problem: Reduced, relaxed: Relaxed) -> Matrix:
    """The derivative of the relaxation's value with respect to B: ½w_uw_uᵀ(1/z_u − 1), raised a little everywhere."""
    with np.errstate(divide="ignore"):
        rise = np.where(relaxed.z > 0.0, 1.0 / relaxed.z - 1.0, 0.0)[problem.unit]
    gain = np.where(problem.together, 0.5 * np.outer(relaxed.w, relaxed.w) * rise, 0.0)
    units = np.sqrt(problem.H.diagonal())
    largest = float((gain.diagonal() * units**2).max())
    return np.asarray(gain + np.diag(LEAST_GAIN * largest / units**2))


def improved(
    problem: Reduced,
    B: Matrix,
    relaxed: Relaxed,
    oracle: Oracle,
    *,
    target: float,
    tolerance: float,
    rounds: int,
    share: float,
) -> tuple[Matrix, Relaxed, float]:
    """Ascend B and relax, ``rounds`` times; what does not help is left out, and the barrier lowered.

    ``share`` is the barrier as a part of the mean of ⟨gain, B⟩: 1 to begin with, and returned to go on.
    """
    gain: Matrix | None = None
    for _ in range(rounds):
        if relaxed.bound >= target:
            break
        fresh = gain_of(problem, relaxed)
        gain = fresh if gain is None else 0.5 * (gain + fresh)
        unit = float((gain * B).sum()) / len(B)
        if not unit > 0.0:
            break
        full = ascended(problem, B, gain, share * unit)
        accepted = False
        for step in (1.0, 0.4, 0.16):
            trial = None if full is None else certified(problem, B + step * (full - B))
            if trial is None:
                break
            new = relax(
                problem, trial, relaxed.masks, relaxed.weights, oracle, target=target, tolerance=tolerance, rounds=20
            )
            if new is not None and new.bound > relaxed.bound + 1e-4 * abs(relaxed.bound):
                B, relaxed, accepted = trial, new, True
                break
        if not accepted:
            share *= 0.5
            if share < 1e-3:
                break
    return B, relaxed, share
