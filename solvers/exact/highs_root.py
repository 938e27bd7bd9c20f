"""Before the master problem: a strong splitting, and every weight that bound (B) fixes.

With P (pruned) and U (kept) fixed, eliminating U by a Schur complement leaves on the free weights F

    f = f(c) + base + ½ (w − c_F)ᵀ H_F (w − c_F),     H_F = H_FF − H_FU H_UU⁻¹ H_UF,          (reduced)

again a problem of the same kind. For a splitting H_F = R + diag(D), any point w, q = R(w − c_F) and
s_i = (D_ic_i − q_i)²/(2D_i), a lower bound on all masks that keep at most K of F is

    base − ½ (w − c_F)ᵀq + Σ_{z_i=0} (½D_ic_i² − q_ic_i) − Σ_{z_i=1} q_i²/(2D_i),    z the K largest s_i,   (B)

and forcing z_i to the other value raises it by s_i's distance to the (K+1)-th or K-th largest. Where that passes the
cutoff, weight i is fixed for good (screening). What it leaves is forced for a trial to either value, reduced, split
anew and bounded: where that passes the cutoff, the other value holds for good (probing). The compiled root of ``bnb``
proposes D and w; they are only advice: what is concluded from them is computed here.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky

from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.bounds.shrinking import shrinking
from cbs_opt.solvers.forms.node_state import Room

ROUNDS = 40
"""Rounds of splitting improvement."""

PROBE_ROUNDS = 3
"""The same for a trial."""

FREE, KEPT, PRUNED = 0, 1, 2
"""As in ``compiled/node``."""


@dataclass(frozen=True, eq=False)
class Reduced:
    """(reduced): the free weights, shape (m,), their H_F and c_F, the base, and how many of them may be kept.

    ``D`` is a splitting of H_F, shape (m,), and ``bound`` the best (B) that was seen, margins subtracted.
    """

    free: NDArray[np.int64]
    H: Matrix
    c: Vector
    base: float
    room: int
    D: Vector
    bound: float


def probe_root(
    block: CenteredBlock, state: NDArray[np.int8], D: Vector, budget: int, cutoff: float, deadline: float = math.inf
) -> Reduced:
    """``screen_root``, then probing, and again, until nothing more is fixed, ``cutoff`` reached or it is too late."""
    reduced = screen_root(block, state, D, budget, cutoff)
    best = reduced.bound
    while reduced.free.size and reduced.bound < cutoff:
        split = D.copy()
        split[reduced.free] = reduced.D
        for i in reduced.free:
            for side, other in ((KEPT, PRUNED), (PRUNED, KEPT)):
                trial = state.copy()
                trial[i] = side
                if time.monotonic() > deadline:
                    return replace(reduced, bound=best)
                if screen_root(block, trial, split, budget, cutoff, PROBE_ROUNDS).bound >= cutoff:
                    state[i] = other
                    break
        if not state[reduced.free].any():
            break
        reduced = screen_root(block, state, split, budget, cutoff)
        best = max(best, reduced.bound)
    return replace(reduced, bound=best)


def screen_root(
    block: CenteredBlock, state: NDArray[np.int8], D: Vector, budget: int, cutoff: float, rounds: int = ROUNDS
) -> Reduced:
    """Improve the splitting, screen, and again, until nothing more is fixed or ``cutoff`` is reached.

    Parameters
    ----------
    state : int8 array (n,), overwritten
        FREE, KEPT or PRUNED; what no mask of value below ``cutoff`` does otherwise is fixed.
    D : array (n,)
        A first splitting.
    cutoff : float
        In the units of the block, relative to f(c).

    Raises
    ------
    LinAlgError
        Round-off left no positive definite H_F.

    Notes
    -----
    Where all free weights can be kept, or none, they are fixed too and ``free`` comes out empty.
    """
    from cbs_opt.solvers.compiled.node import process

    best = 0.0
    given = Room.one(len(block.c), budget)
    while True:
        advised, advice, w = state.copy(), D.copy(), block.c.copy()
        process(block.H, block.c, advised, advice, w, w.copy(), np.full(1, -1.0), 1.0, given, np.inf, rounds, 0)
        free, H, c, base, margin = eliminated(block, state)
        room = budget - int((state == KEPT).sum())
        best = max(best, base - margin)
        # What the elimination may have changed in H_F and c_F, by a norm of H.
        changed = 4.0 * (len(state) + 1) * EPS * float(block.H.diagonal().max()) if state.any() else 0.0
        split = certified(H, advice[free], changed)
        reduced = Reduced(free, H, c, base, room, split, best)
        if best >= cutoff or not free.size:
            return reduced
        if room <= 0 or room >= free.size:
            state[free] = KEPT if room > 0 else PRUNED
            continue
        if state.any():
            unit = 4.0 * len(state) * EPS
            further = float(np.abs(w[free] - c) @ np.sqrt(block.H.diagonal()[free]))
            margin = unit * (math.sqrt(margin / unit) + further) ** 2
        own, keep, prune = screened(H, c, split, w[free], room, cutoff - (base - margin))
        best = max(best, base - margin + own)
        if best >= cutoff or not (keep.any() or prune.any()):
            return Reduced(free, H, c, base, room, split, best)
        state[free[keep]], state[free[prune]] = KEPT, PRUNED


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


def screened(H: Matrix, c: Vector, D: Vector, w: Vector, room: int, cutoff: float) -> tuple[float, Mask, Mask]:
    """(B) at ``w`` without the base, from below, and the weights it shows to be kept, and pruned, below ``cutoff``."""
    m = len(c)
    R = H - np.diag(D)
    step = w - c
    q = R @ step
    error = m * EPS * (np.abs(R) @ np.abs(step))  # of each q_i
    scores = (D * c - q) ** 2 / (2.0 * D)
    order = np.argsort(-scores, kind="stable")
    inside = np.zeros(m, dtype=np.bool_)
    inside[order[:room]] = True
    costs = np.where(inside, -q * q / (2.0 * D), 0.5 * D * c * c - q * c)
    sizes = np.where(inside, q * q / D, D * c * c + np.abs(q * c)) + np.abs(step * q)
    slips = np.where(inside, (np.abs(q) + error) / D, np.abs(c)) + np.abs(step)
    value = float(costs.sum()) - 0.5 * float(step @ q) - 2.0 * float(error @ slips) - 8.0 * m * EPS * float(sizes.sum())
    last_in, first_out = scores[order[room - 1]], scores[order[room]]
    rise = np.where(inside, scores - first_out, last_in - scores) * (1.0 - 1e-9)
    fixed = (rise > 0.0) & (value + rise >= cutoff)
    return value, fixed & inside, fixed & ~inside
