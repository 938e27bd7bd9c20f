"""Bound (B) for any pattern: a block of the curvature is split off for every unit, weights that stay or go together.

    H = R + B,   R ⪰ 0,   B block-diagonal over the units (``Pattern.units``), B_u ≻ 0.

Around the minimizer c, where f = ½(w − c)ᵀH(w − c), with e = w' − c, any point w, d = w − c and q = Rd,

    f(w') ≥ −½dᵀq + Σ_u (q_uᵀe_u + ½e_uᵀB_ue_u),

since ½eᵀRe ≥ qᵀe − ½dᵀq. A unit that goes (e_u = −c_u) costs ½c_uᵀB_uc_u − q_uᵀc_u, and one that stays costs at least
−½q_uᵀB_u⁻¹q_u. The difference is its score s_u = ½t_uᵀB_u⁻¹t_u with t = Bc − q, so that

    f(w') ≥ −½dᵀq + ½cᵀBc − qᵀc − max_{z ∈ Z} Σ_u z_u s_u                                                        (B)

for every w' whose support is in Z. The pattern is asked what its masks score at the most (``Pattern.relaxed``), and
nothing else. Every w gives a valid bound; a good one comes from ``unit_relaxation``. Where units are single weights
this is the bound of ``perspective``. With blocks for larger units, the curvature between the weights of a unit is
treated exactly and not relaxed.
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
"""``oracle(scores)``, for the scores of all units: a number that the scores of the units a mask keeps never exceed in
sum."""

LEAST_GAIN = 4e-3
"""The ascent of B counts at least this part of the largest gain, for every unit and every direction in it."""

LEAST_PART = 0.02
"""In no direction does B_u fall below this part of what R could give up to it there."""


class Reduced(NamedTuple):
    """The problem ½(w − c)ᵀH(w − c) of the free weights of a node, in an order in which units are consecutive."""

    H: Matrix
    c: Vector
    b: Vector  # Hc
    unit: NDArray[np.int64]  # of each weight, 0 … units − 1, ascending
    starts: NDArray[np.int64]  # the first weight of each unit
    shift: float  # covers the round-off of H and of a Cholesky factorization of R

    def sums(self, values: Vector) -> Vector:
        """The sum of ``values`` over the weights of each unit, shape (units,)."""
        return np.add.reduceat(values, self.starts)

    def blocks(self) -> list[slice]:
        """The weights of each unit."""
        ends = np.append(self.starts[1:], len(self.c))
        return [slice(int(first), int(end)) for first, end in zip(self.starts, ends, strict=True)]

    @property
    def together(self) -> Mask:
        """Which pairs of weights belong to the same unit, shape (m, m)."""
        return self.unit[:, None] == self.unit


class Split(NamedTuple):
    """H = R + B with R shown to be positive semidefinite, and what it takes to evaluate (B) at many points."""

    B: Matrix
    R: Matrix
    size_R: Matrix  # |R|
    size_B: Matrix  # |B|
    L: Matrix  # the Cholesky factor of B
    least: Vector  # a number below the smallest eigenvalue of each B_u, (units,)


def first_blocks(problem: Reduced) -> Split | None:
    """The splitting with B in proportion to the blocks of H, nearly as large as H allows; None without such a B."""
    blocks = np.where(problem.together, problem.H, 0.0)
    L = factor(blocks)
    if L is None:
        return None
    inner = lapack.dtrtrs(L, problem.H, lower=1)[0]
    inner = lapack.dtrtrs(L, inner.T, lower=1)[0]
    least = float(np.linalg.eigvalsh((inner + inner.T) / 2)[0])
    return certified(problem, 0.9 * least * blocks) if least > 0.0 else None


def certified(problem: Reduced, B: Matrix) -> Split | None:
    """The splitting by B, shrunk until R = H − B is shown to be positive semidefinite; None where that fails."""
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
    """The bound (B) at w, less its round-off, and the scores of the units, none below its exact value.

    The computed y ≈ B⁻¹t is not trusted: with the residual ρ = t − By and β_u ≤ λ_min(B_u),
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
    """B after one sweep over the units that raises ⟨gain, B⟩ + barrier·log det(H − B); None where R is not definite.

    For a unit u let X = ((R⁻¹)_uu)⁻¹ + B_u = LLᵀ, the largest B_u that the rest of B allows, and G the block of
    ``gain``. The best L⁻¹B_uL⁻ᵀ has the eigenvectors of LᵀGL, and the eigenvalues 1 − barrier/γ for the eigenvalues γ
    of LᵀGL. For a single weight this is the step 1/(R⁻¹)_ii − barrier/gain_i.
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
        # R loses the step Δ on the unit's rows and columns E: (R − EΔEᵀ)⁻¹ = R⁻¹ + R⁻¹E(I − ΔC)⁻¹ΔEᵀR⁻¹.
        try:
            middle = np.linalg.solve(np.eye(len(C)) - step @ C, step)
        except np.linalg.LinAlgError:
            continue
        inverse = inverse + inverse[:, at] @ ((middle + middle.T) / 2) @ inverse[at, :]
        B[at, at] += step
    return B
