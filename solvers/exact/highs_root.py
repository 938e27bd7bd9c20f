"""Before the master problem: a strong splitting, and every weight that bound (B) fixes.

With P (pruned) and U (kept) fixed, eliminating U by a Schur complement leaves on the free weights F

    f = f(c) + base + ½ (w − c_F)ᵀ H_F (w − c_F),     H_F = H_FF − H_FU H_UU⁻¹ H_UF,          (reduced)

again a problem of the same kind. For a splitting H_F = R + diag(D), any point w, q = R(w − c_F) and scores
s_i = (D_ic_i − q_i)²/(2D_i), a lower bound on all masks of Z that agree with P and U is

    base − ½ (w − c_F)ᵀq + Σ_i (½D_ic_i² − q_ic_i) − max_{z ∈ Z} Σ_i z_i s_i,                                  (B)

its maximum from the pattern (``Pattern.most``); at z = argmax the last two terms together are
Σ_{z_i=0} (½D_ic_i² − q_ic_i) − Σ_{z_i=1} q_i²/(2D_i). Forcing z_i to the other value raises it by what the scores then
lose (``flip_values``). Where that passes the cutoff, weight i is fixed for good (screening). What it leaves is forced
for a trial to either value, reduced, split anew and bounded: where that passes the cutoff, the other value holds for
good (probing). The compiled root of ``bnb`` proposes D and w, for labels with room: of any other pattern it is told
how many weights can be kept at all. They are only advice: what is concluded from them is computed here.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky

from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.forced import forced
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.bounds.shrinking import shrinking
from cbs_opt.solvers.exact.decided import deciding, fixed, settled
from cbs_opt.solvers.forms.node_state import FREE, KEPT, PRUNED, Room, state_of

ROUNDS = 40
"""Rounds of splitting improvement."""

PROBE_ROUNDS = 3
"""The same for a trial."""


@dataclass(frozen=True, eq=False)
class Reduced:
    """(reduced): the free weights, shape (m,), their H_F and c_F, and the base.

    ``pattern`` is what is left of Z, over all n weights; ``D`` is a splitting of H_F, shape (m,), and ``bound`` the
    best (B) that was seen, margins subtracted: inf where no mask is left, all being as bad as the cutoff.
    """

    pattern: Pattern
    free: NDArray[np.int64]
    H: Matrix
    c: Vector
    base: float
    D: Vector
    bound: float

    @property
    def kept(self) -> Mask:
        """Weights fixed to stay, shape (n,)."""
        return forced(self.pattern)


def probe_root(block: CenteredBlock, pattern: Pattern, D: Vector, cutoff: float, deadline: float = math.inf) -> Reduced:
    """``screen_root``, then probing, and again, until nothing more is fixed, ``cutoff`` reached or it is too late."""
    reduced = screen_root(block, pattern, D, cutoff)
    best = reduced.bound
    while reduced.free.size and reduced.bound < cutoff:
        split = D.copy()
        split[reduced.free] = reduced.D
        left: Pattern | None = reduced.pattern
        for i in reduced.free:
            for kept in (True, False):
                if left is None or not left.free[i]:
                    break
                if time.monotonic() > deadline:
                    return replace(reduced, bound=best)
                trial = deciding(left, i, kept)
                if trial is None or screen_root(block, trial, split, cutoff, PROBE_ROUNDS).bound >= cutoff:
                    left = deciding(left, i, not kept)
        if left is None:
            return replace(reduced, bound=math.inf)
        if left is reduced.pattern:
            break
        reduced = screen_root(block, left, split, cutoff)
        best = max(best, reduced.bound)
    return replace(reduced, bound=best)


def screen_root(block: CenteredBlock, pattern: Pattern, D: Vector, cutoff: float, rounds: int = ROUNDS) -> Reduced:
    """Improve the splitting, screen, and again, until nothing more is fixed or ``cutoff`` is reached.

    Parameters
    ----------
    D : array (n,)
        A first splitting.
    cutoff : float
        In the units of the block, relative to f(c): what no mask of a smaller value does otherwise is fixed.

    Raises
    ------
    LinAlgError
        Round-off left no positive definite H_F.
    """
    best = 0.0
    while True:
        pattern = settled(pattern)
        state = state_of(pattern)
        advice, w = advised(block, pattern, state, D, rounds)
        free, H, c, base, margin = eliminated(block, state)
        best = max(best, base - margin)
        decided = len(free) < len(state)
        # What the elimination may have changed in H_F and c_F, by a norm of H.
        changed = 4.0 * (len(state) + 1) * EPS * float(block.H.diagonal().max()) if decided else 0.0
        split = certified(H, advice[free], changed)
        if best >= cutoff or not free.size:
            return Reduced(pattern, free, H, c, base, split, best)
        if decided:
            unit = 4.0 * len(state) * EPS
            further = float(np.abs(w[free] - c) @ np.sqrt(block.H.diagonal()[free]))
            margin = unit * (math.sqrt(margin / unit) + further) ** 2
        own, keep, prune = screened(H, c, split, w[free], pattern, cutoff - (base - margin))
        best = max(best, base - margin + own)
        smaller = fixed(pattern, keep, prune) if best < cutoff and (keep | prune).any() else pattern
        if smaller is None:
            best = math.inf
        if best >= cutoff or smaller is None or smaller is pattern:
            return Reduced(pattern, free, H, c, base, split, best)
        pattern = smaller


def first_splitting(block: CenteredBlock) -> Vector:
    """A multiple of the identity, shape (n,)."""
    return np.full(len(block.c), max(0.9 * float(block.eigenvalues[0]), 1e-15))


def advised(
    block: CenteredBlock, pattern: Pattern, state: NDArray[np.int8], D: Vector, rounds: int
) -> tuple[Vector, Vector]:
    """A splitting and a point that the compiled root proposes, each of shape (n,)."""
    from cbs_opt.solvers.compiled.node import process

    labelled, n = pattern.labelled, len(state)
    room = Room.one(n, int(pattern.argmax(np.ones(n)).sum())) if labelled is None else Room.of(labelled)
    advice, w = D.copy(), block.c.copy()
    labels = np.full(len(room.room), -1.0)
    process(block.H, block.c, 0.0, state.copy(), advice, w, w.copy(), labels, 1.0, room, np.inf, rounds, 0)
    return advice, w


def eliminated(block: CenteredBlock, state: NDArray[np.int8]) -> tuple[NDArray[np.int64], Matrix, Vector, float, float]:
    """(reduced): F, H_F, c_F, base, and what round-off may have added to the base."""
    H, n = block.H, len(block.c)
    free, kept, pruned = (np.flatnonzero(state == what) for what in (FREE, KEPT, PRUNED))
    active = np.concatenate([kept, free])
    d = np.zeros(n)
    d[pruned] = -block.c[pruned]
    if active.size and pruned.size:
        factor = cho_factor(H[np.ix_(active, active)], lower=True)
        d[active] = -cho_solve(factor, H[np.ix_(active, pruned)] @ d[pruned])
    H_F = H[np.ix_(free, free)]
    if kept.size and free.size:
        cross = H[np.ix_(kept, free)]
        H_F = H_F - cross.T @ cho_solve(cho_factor(H[np.ix_(kept, kept)], lower=True), cross)
        H_F = (H_F + H_F.T) / 2
    spread = float(np.abs(d) @ np.sqrt(H.diagonal()))
    return free, H_F, block.c[free] + d[free], 0.5 * float(d @ (H @ d)), 4.0 * n * EPS * spread * spread


def certified(H: Matrix, D: Vector, changed: float = 0.0) -> Vector:
    """D, shrunk until H − diag(D) has a Cholesky factor with the margin that makes it positive semidefinite.

    ``changed`` is what H may be wrong by already.
    """
    m = len(D)
    if m == 0:
        return D
    shift = changed + 4.0 * (m + 1) * EPS * float(H.diagonal().max())
    for smaller in shrinking(D):
        try:
            cholesky(H - np.diag(smaller + shift), lower=True, check_finite=False)
        except LinAlgError:
            continue
        return smaller
    raise LinAlgError("H is not positive definite up to round-off")


def screened(H: Matrix, c: Vector, D: Vector, w: Vector, pattern: Pattern, cutoff: float) -> tuple[float, Mask, Mask]:
    """(B) at ``w`` without the base, from below, and the weights, of all n, it shows to be kept, and pruned, below
    ``cutoff``.

    H, c, D and w are those of the free weights of ``pattern``.
    """
    m, free = len(c), pattern.free
    R = H - np.diag(D)
    step = w - c
    q = R @ step
    error = m * EPS * (np.abs(R) @ np.abs(step))  # of each q_i
    scores = np.zeros(len(free))
    scores[free] = (D * c - q) ** 2 / (2.0 * D)
    z = pattern.argmax(scores)
    inside, most = z[free], pattern.most(scores)
    flips = pattern.flip_values(scores, z)
    costs = np.where(inside, -q * q / (2.0 * D), 0.5 * D * c * c - q * c)
    sizes = np.where(inside, q * q / D, D * c * c + np.abs(q * c)) + np.abs(step * q)
    slips = np.where(inside, (np.abs(q) + error) / D, np.abs(c)) + np.abs(step)
    value = float(costs.sum()) - 0.5 * float(step @ q) - 2.0 * float(error @ slips) - 8.0 * m * EPS * float(sizes.sum())
    value -= max(most - float(scores[z].sum()), 0.0)
    rise = (most - flips) * (1.0 - 1e-9) - 4.0 * m * EPS * most
    decided = free & (rise > 0.0) & (value + rise >= cutoff)
    return value, decided & z, decided & ~z
