"""Bound (B) for any pattern; a block of the curvature is split off for every unit of weights that stay or go together.

    H = R + B,   R ⪰ 0,   B block-diagonal over the units (``Pattern.units``), B_u ≻ 0.

Around the minimizer c (f = ½(w − c)ᵀH(w − c)), with e = w' − c, any point w, d = w − c and q = Rd,

    f(w') ≥ −½dᵀq + Σ_u (q_uᵀe_u + ½e_uᵀB_ue_u),

since ½eᵀRe ≥ qᵀe − ½dᵀq. A unit that goes (e_u = −c_u) costs ½c_uᵀB_uc_u − q_uᵀc_u, one that stays at least
−½q_uᵀB_u⁻¹q_u; the difference is its score s_u = ½t_uᵀB_u⁻¹t_u with t = Bc − q, so that

    f(w') ≥ −½dᵀq + ½cᵀBc − qᵀc − max_{z ∈ Z} Σ_u z_u s_u                                                        (B)

for every w' whose support is in Z: the pattern is asked what its masks score at the most (``Pattern.relaxed``), and
for nothing else. Any w will do; a good one comes from ``unit_relaxation``. Where units are single weights this is the
bound of ``perspective``; blocks of larger ones keep what the weights of a unit have to do with one another out of the
relaxation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.solvers.bounds.interior import back, factor, inverse_of

Oracle = Callable[[Vector], float]
"""``oracle(scores of the units)`` → a number that the sum over the units which a mask keeps never exceeds."""

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


class Split(NamedTuple):
    """H = R + B with R shown to be positive semidefinite, and what evaluating (B) at many points needs of it."""

    B: Matrix
    R: Matrix
    size_R: Matrix  # |R|
    size_B: Matrix
    L: Matrix  # of B
    least: Vector  # below the smallest eigenvalue of each B_u, (units,)


def first_blocks(problem: Reduced) -> Split | None:
    """B in proportion to the blocks of H, nearly as large as H allows; None where H is not positive definite."""
    blocks = np.where(problem.together, problem.H, 0.0)
    L = factor(blocks)
    if L is None:
        return None
    inner = lapack.dtrtrs(L, problem.H, lower=1)[0]
    inner = lapack.dtrtrs(L, inner.T, lower=1)[0]
    least = float(np.linalg.eigvalsh((inner + inner.T) / 2)[0])
    return certified(problem, 0.9 * least * blocks) if least > 0.0 else None


def certified(problem: Reduced, B: Matrix) -> Split | None:
    """B, shrunk until R = H − B is shown to be positive semidefinite; None where none will do."""
    more = np.eye(len(B)) * (problem.shift + 4.0 * EPS * float(np.abs(problem.H.diagonal()).sum()))
    for attempt in range(60):
        if factor(problem.H - B - more) is not None:
            break
        B = B * (1.0 - 0.5 ** max(1, 10 - attempt))
    else:
        return None
    L = factor(B)
    if L is None:
        return None
    if len(problem.starts) == len(B):
        least = B.diagonal().copy()
    else:
        parts = [B[at, at] for at in problem.blocks()]
        least = np.array([np.linalg.eigvalsh(u)[0] - 4.0 * len(u) * EPS * u.trace() for u in parts])
    R = problem.H - B
    return Split(B, R, np.abs(R), np.abs(B), L, least) if (least > 0.0).all() else None


def bound_at(problem: Reduced, split: Split, w: Vector, oracle: Oracle) -> tuple[float, Vector]:
    """(B) at w from below, round-off subtracted, and the scores of the units, none too small.

    B⁻¹ is not trusted: with y ≈ B⁻¹t, what is left ρ = t − By and β_u ≤ λ_min(B_u),
    t_uᵀB_u⁻¹t_u ≤ y_uᵀB_uy_u + 2y_uᵀρ_u + ‖ρ_u‖²/β_u.
    """
    c, slip = problem.c, (len(w) + 4) * EPS
    d = w - c
    q, standing = split.R @ d, split.B @ c
    size_q, size_standing = split.size_R @ np.abs(d), split.size_B @ np.abs(c)
    t = standing - q
    y = back(split.L, t)
    image, size = split.B @ y, split.size_B @ np.abs(y)
    left = np.abs(t - image) + slip * (size_q + size_standing + size + np.abs(t))
    lengths = np.abs(y)
    twice = problem.sums(y * image + slip * lengths * size + 2.0 * lengths * left)
    scores = 0.5 * (twice + problem.sums(left * left) / split.least) * (1.0 + slip)
    if not np.isfinite(scores).all():
        return -np.inf, np.zeros(len(scores))
    scores = np.maximum(scores, 0.0)
    most = oracle(scores)
    value = -0.5 * float(d @ q) + 0.5 * float(c @ standing) - float(q @ c) - most
    margin = 2.0 * slip * float((np.abs(d) + np.abs(c)) @ size_q + np.abs(c) @ size_standing + abs(most))
    return value - margin, scores


def ascended(problem: Reduced, split: Split, gain: Matrix, barrier: float) -> Matrix | None:
    """One sweep over the units on max ⟨gain, B⟩ + barrier·log det(H − B); None where R is not positive definite.

    With X = ((R⁻¹)_uu)⁻¹ + B_u, the most that R could give up to unit u, and X = LLᵀ, the best L⁻¹B_uL⁻ᵀ has the
    eigenvectors of LᵀGL, and the eigenvalues 1 − barrier/γ: the step 1/(R⁻¹)_ii − barrier/gain of single weights.
    """
    from cbs_opt.solvers.compiled.splitting import ascend_splitting

    m = len(split.B)
    if len(problem.starts) == m:
        D = split.B.diagonal().copy()
        work, room, across = np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
        risen = ascend_splitting(
            problem.H, D, np.ascontiguousarray(gain.diagonal()), barrier, LEAST_PART * D, work, room, across
        )
        return np.diag(D) if risen else None
    inverse = inverse_of(split.R)
    if inverse is None:
        return None
    B = split.B.copy()
    for at in problem.blocks():
        C = inverse[at, at]
        alone = inverse_of(C)
        if alone is None:
            return None
        most = alone + B[at, at]
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
