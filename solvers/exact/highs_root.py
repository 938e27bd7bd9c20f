"""The step before the master problem: finds a strong splitting, and fixes every weight that bound (B) decides.

With P pruned and U kept so far, both are eliminated, which leaves the free weights F, H_F, c_F and a base
(``highs_reduction``). For a splitting H_F = R + diag(D), any point w, q = R(w − c_F) and scores
s_i = (D_ic_i − q_i)²/(2D_i), a lower bound on all masks of Z that agree with P and U is

    base − ½ (w − c_F)ᵀq + Σ_i (½D_ic_i² − q_ic_i) − max_{z ∈ Z} Σ_i z_i s_i,                                  (B)

where the pattern gives the maximum (``Pattern.most``). At the z that attains it, the last two terms together are
Σ_{z_i=0} (½D_ic_i² − q_ic_i) − Σ_{z_i=1} q_i²/(2D_i).

*Screening*: forcing z_i to the other value raises the bound by what the sum of scores then loses (``flip_values``).
Where the raised bound reaches the cutoff, weight i is fixed. *Probing*: a weight that is still free is fixed for a
trial to either value, and the problem is reduced, split and bounded again. Where that bound reaches the cutoff, the
weight is fixed to the other value. D and w are proposed by the compiled root of ``bnb``, for labels with room; for any
other pattern it is told how many weights can be kept at all. They are only advice: all that is concluded from them is
computed here.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky

from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.forced import forced
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.bounds.shrinking import shrinking
from cbs_opt.solvers.exact.decided import deciding, fixed, settled
from cbs_opt.solvers.exact.highs_reduction import Reduction
from cbs_opt.solvers.forms.node_state import Room, state_of

ROUNDS = 40
"""Rounds of splitting improvement."""

PROBE_ROUNDS = 3
"""Rounds of splitting improvement in a trial."""

LEAST_RISE = 1e-6
"""Rises of the bound below this share of the cutoff count as this much where a weight to branch on is chosen."""


@dataclass(frozen=True, eq=False)
class Root:
    """What is left of a problem: its reduction, with a splitting of H_F.

    ``pattern`` is what is left of Z, over all n weights, ``D`` the splitting, shape (m,), and ``bound`` the best bound
    that was seen, less its margins. It is inf where no mask is left because none has a value below the cutoff.
    ``branch`` is the free weight whose two values, each fixed for a trial, raised the bound most (by the product of the
    rises); −1 where nothing is left to decide, or not every free weight has been tried.
    """

    pattern: Pattern
    reduction: Reduction
    D: Vector
    bound: float
    branch: int = -1

    @property
    def free(self) -> NDArray[np.int64]:
        """The free weights, ascending, shape (m,)."""
        return self.reduction.free

    @property
    def kept(self) -> Mask:
        """Weights fixed to stay, shape (n,)."""
        return forced(self.pattern)

    def split(self, D: Vector) -> Vector:
        """The splitting of the free weights in place of theirs in ``D``, shape (n,)."""
        whole = D.copy()
        whole[self.free] = self.D
        return whole


def probe_root(block: CenteredBlock, pattern: Pattern, D: Vector, cutoff: float, deadline: float = math.inf) -> Root:
    """Screen and probe in turn until nothing more is fixed, the bound reaches ``cutoff``, or ``deadline`` has passed.

    ``D`` and ``cutoff`` are as for ``screen_root``; ``deadline`` is on the clock of ``time.monotonic``.
    """
    root = screen_root(block, pattern, D, cutoff)
    best, branch = root.bound, -1
    while root.free.size and root.bound < cutoff:
        split = root.split(D)
        left: Pattern | None = root.pattern
        rises = np.zeros((len(root.free), 2))
        for place, i in enumerate(root.free):
            for kept in (True, False):
                if left is None or not left.free[i]:
                    break
                if time.monotonic() > deadline:
                    return replace(root, bound=best)
                trial = deciding(left, i, kept)
                bound = math.inf if trial is None else screen_root(block, trial, split, cutoff, PROBE_ROUNDS).bound
                rises[place, int(kept)] = min(bound, cutoff) - root.bound
                if bound >= cutoff:
                    left = deciding(left, i, not kept)
        if left is None:
            return replace(root, bound=math.inf)
        if left is root.pattern:
            branch = int(root.free[np.argmax(np.maximum(rises, LEAST_RISE * cutoff).prod(axis=1))])
            break
        root = screen_root(block, left, split, cutoff)
        best = max(best, root.bound)
    return replace(root, bound=best, branch=branch)


def screen_root(block: CenteredBlock, pattern: Pattern, D: Vector, cutoff: float, rounds: int = ROUNDS) -> Root:
    """Improve the splitting and screen in turn until nothing more is fixed or the bound reaches ``cutoff``.

    Parameters
    ----------
    D : array (n,)
        A first splitting.
    cutoff : float
        Only masks of a value below this are of interest, in the units of the block and relative to f(c). A weight that
        all of these keep, or all prune, may be fixed.
    rounds : int
        Rounds of splitting improvement.

    Raises
    ------
    LinAlgError
        The computed H_F is not positive definite.
    """
    best = 0.0
    while True:
        pattern = settled(pattern)
        state = state_of(pattern)
        advice, w = advised(block, pattern, state, D, rounds)
        reduction = Reduction.of(block, state)
        free = reduction.free
        best = max(best, reduction.least)
        split = certified(reduction.H, advice[free], reduction.shift)
        if best >= cutoff or not free.size:
            return Root(pattern, reduction, split, best)
        own, keep, prune = screened(reduction, split, w[free], pattern, cutoff)
        best = max(best, own)
        smaller = fixed(pattern, keep, prune) if best < cutoff and (keep | prune).any() else pattern
        if smaller is None:
            best = math.inf
        if best >= cutoff or smaller is None or smaller is pattern:
            return Root(pattern, reduction, split, best)
        pattern = smaller


def advised(
    block: CenteredBlock, pattern: Pattern, state: NDArray[np.int8], D: Vector, rounds: int
) -> tuple[Vector, Vector]:
    """The splitting D and the point w that the compiled root of ``bnb`` proposes, each of shape (n,)."""
    from cbs_opt.solvers.compiled.node import process

    labelled, n = pattern.labelled, len(state)
    room = Room.one(n, int(pattern.argmax(np.ones(n)).sum())) if labelled is None else Room.of(labelled)
    advice, w = D.copy(), block.c.copy()
    labels = np.full(len(room.room), -1.0)
    process(block.H, block.c, block.smallest, state.copy(), advice, w, w.copy(), labels, 1.0, room, np.inf, rounds, 0)
    return advice, w


def certified(H: Matrix, D: Vector, shift: float) -> Vector:
    """D, shrunk until H − diag(D + shift) has a Cholesky factor; LinAlgError where it never has."""
    if not len(D):
        return D
    for smaller in shrinking(D):
        try:
            cholesky(H - np.diag(smaller + shift), lower=True, check_finite=False)
        except LinAlgError:
            continue
        return smaller
    raise LinAlgError("H is not positive definite up to round-off")


def screened(reduction: Reduction, D: Vector, w: Vector, pattern: Pattern, cutoff: float) -> tuple[float, Mask, Mask]:
    """The bound (B) at ``w``, less round-off, and two masks of all n weights that it fixes: as kept, and as pruned.

    A weight is fixed where all masks of a value below ``cutoff`` agree on it. D and w are those of the free weights of
    ``pattern``.
    """
    H, c = reduction.H, reduction.c
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
    # For a kept and for a pruned weight, since with the exact scores another mask may be the best.
    sizes = q * q / D + D * c * c + np.abs(q * c) + np.abs(step * q)
    slips = np.maximum((np.abs(q) + error) / D, np.abs(c)) + np.abs(step)
    value = float(costs.sum()) - 0.5 * float(step @ q) - 2.0 * float(error @ slips) - 8.0 * m * EPS * float(sizes.sum())
    value -= max(most - float(scores[z].sum()), 0.0)
    value = sum_below(reduction.base, value, -reduction.margin(D, scores[free], w))
    if value == -math.inf:
        return value, np.zeros_like(free), np.zeros_like(free)
    doubt = float((error * (np.sqrt(2.0 * scores[free] / D) + error / D)).sum())
    rise = (most - flips) * (1.0 - 1e-9) - 4.0 * m * EPS * most - 2.0 * doubt
    decided = free & (rise > 0.0) & (value + rise >= cutoff)
    return value, decided & z, decided & ~z
