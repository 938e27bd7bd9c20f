"""The bound of a region of masks from one point, and what it becomes when one more weight is fixed: exactly.

A region keeps the weights U, prunes P and leaves F free; K_l more of those with label l may be kept. On A = U ∪ F let
H_AA − diag(D) ⪰ 0, D > 0. For any ŵ with ŵ_P = 0 and p = ∇f(ŵ), every w with w_P = 0 has

    f(w) ≥ f(ŵ) + Σ_{i∈A} [ p_i (w_i − ŵ_i) + ½ D_i (w_i − ŵ_i)² ].

A kept weight contributes at least κ_i = −p_i²/(2D_i), a pruned one (w_i = 0) exactly π_i = ½D_iŵ_i² − p_iŵ_i, and
π_i − κ_i = (D_iŵ_i − p_i)²/(2D_i) is the score s_i of bound (B). So

    f ≥ f(ŵ) + Σ_U κ_i + Σ_F π_i − Σ_l (the K_l largest scores of the free weights with label l).            (B)

With *pieces*, H_AA − diag(D) − VVᵀ ⪰ 0, each column v of V on a few weights S ⊂ F adds ½(vᵀ(w − ŵ))², for which

    ½(vᵀ(w − ŵ))² ≥ βvᵀ(w − ŵ) − ½β² + θ·½(vᵀŵ + β)²·(1 − (how many of S are kept)),    any β, 0 ≤ θ ≤ 1:

where one is kept, since a square is nowhere below its tangents; where none is, vᵀw = 0 and both sides of the first
two terms differ by ½(vᵀŵ + β)². So β v is added to p, and what the last term has in store to the score of each weight
of S. A piece with a kept weight is left out; it was not negative.

Weights in U may take any value, zero too. Divisions are rounded down, far below the last bit of the data.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.proof.certificate.limits import Counts, Limits
from cbs_opt.proof.check.exact_model import ExactModel, Gradient
from cbs_opt.proof.check.integers import Integers, exponent_of, fraction, integers, nearest, shifted

FREE, KEPT, PRUNED = 0, 1, 2

State = NDArray[np.int8]
"""FREE, KEPT or PRUNED for each weight, shape (n,)."""

GUARD = 128
"""Bits below the last bit of the data at which quotients are rounded down."""


def room_left(state: State, limits: Limits) -> Counts:
    """How many more weights of each label the region may keep, shape (labels,); below 0 where it holds no mask."""
    return limits.room - limits.count(state == KEPT)


def settled(state: State, limits: Limits) -> State:
    """The region without the labels that have nothing to choose: no room prunes what is free, room for all keeps it.

    No weights are lost, since kept ones may be zero. ``state`` itself where every label has a choice.
    """
    free = state == FREE
    left, open_weights = room_left(state, limits), limits.count(free)
    done = (open_weights > 0) & ((left <= 0) | (left >= open_weights))
    if not done.any():
        return state
    closed = state.copy()
    ending = free & done[limits.labels]
    closed[ending] = np.where(left[limits.labels[ending]] <= 0, PRUNED, KEPT)
    return closed


class Choice:
    """min over masks of Σ kept_i + Σ pruned_i, of each label at most its room of the free weights kept.

    Parameters
    ----------
    free : indices
    label : array
        Of the free weights, in their order.
    score : integers
        pruned_i − kept_i ≥ 0 of the free weights, in their order.
    base : int
        The sum with all free weights pruned.
    room : array (labels,)
        Of free weights; below 0 counts as 0.
    exponent : int
        The unit of all of them is 2^exponent.
    offset : Fraction
        Added to everything.
    """

    def __init__(
        self,
        free: NDArray[np.int64],
        label: Counts,
        score: Integers,
        base: int,
        room: Counts,
        exponent: int,
        offset: Fraction,
    ) -> None:
        self._room = [max(int(most), 0) for most in room]
        self._scores: dict[int, list[int]] = {}  # of each label, the largest first
        self._place: dict[int, tuple[int, int]] = {}  # of each weight, its label and its rank there
        for q in sorted(range(len(free)), key=lambda q: -score[q]):
            ranked = self._scores.setdefault(int(label[q]), [])
            self._place[int(free[q])] = int(label[q]), len(ranked)
            ranked.append(int(score[q]))
        self._best = sum(sum(ranked[: self._room[name]]) for name, ranked in self._scores.items())
        self._base, self._exponent, self._offset = base, exponent, offset

    @property
    def bound(self) -> Fraction:
        """A lower bound on f in the region."""
        return self._value(self._best)

    def flipped(self, i: int, side: int) -> Fraction | None:
        """A lower bound on f in the region where the free weight ``i`` is kept or pruned; None: no such mask."""
        label, rank = self._place[i]
        room, scores = self._room[label], self._scores[label]
        if side == PRUNED:
            if rank >= room:
                return self.bound
            runner_up = scores[room] if room < len(scores) else 0
            return self._value(self._best - scores[rank] + runner_up)
        if room == 0:
            return None
        if rank < room:
            return self.bound
        return self._value(self._best - scores[room - 1] + scores[rank])

    def _value(self, best: int) -> Fraction:
        return self._offset + fraction(self._base - best, self._exponent)


class Pieces(NamedTuple):
    """Columns beside the diagonal, and what is made of them.

    Parameters
    ----------
    V : array (n, E)
    share : array (E,)
        ζ > 0: β is vᵀŵ(1/ζ − 1), in float64, whatever that is.
    hold : array (E,)
        θ, 0 to 1.
    """

    V: Matrix
    share: Vector
    hold: Vector

    def within(self, state: State) -> Pieces:
        """Without those of a kept weight or of pruned ones only, and without their pruned weights."""
        V = np.where((state == PRUNED)[:, None], 0.0, self.V)
        stays = (V != 0.0).any(axis=0) & ~(V[state == KEPT] != 0.0).any(axis=0)
        return Pieces(V[:, stays], self.share[stays], self.hold[stays])


def choice(
    model: ExactModel, state: State, limits: Limits, D: Vector, w: Vector, low: Vector, pieces: Pieces | None = None
) -> Choice:
    """Bound (B) of the region ``state`` from D and ŵ = w + low, D_A > 0 and H_AA − diag(D_A) − V_A V_Aᵀ ⪰ 0 proven.

    Entries of D, w and low at pruned weights are ignored.
    """
    pruned = state == PRUNED
    at = model.gradient(np.where(pruned, 0.0, w), np.where(pruned, 0.0, low))
    return choice_at(model, state, limits, D, at, None if pieces is None else pieces.within(state))


def choice_at(
    model: ExactModel, state: State, limits: Limits, D: Vector, at: Gradient, pieces: Pieces | None = None
) -> Choice:
    """The same at a point whose gradient is known; ``pieces`` are those ``within`` the region."""
    constant, bonus = 0, np.zeros(len(state), dtype=object)
    if pieces is not None and pieces.V.size:
        at, constant, bonus = _tilted(at, pieces)
    active = np.flatnonzero(state != PRUNED)
    D_exponent = exponent_of(D[active])
    curvature = integers(D[active], D_exponent)
    p, w = at.p[active], at.w[active]
    unit = at.w_exponent + at.p_exponent - GUARD  # of 2·f
    pruned = shifted(curvature * w * w, D_exponent + 2 * at.w_exponent - unit) - ((2 * p * w) << GUARD)
    # Floors of negative numbers: never above −p²/D.
    kept = shifted(-p * p, 2 * at.p_exponent - D_exponent - unit + GUARD) // curvature >> GUARD
    free = state[active] == FREE
    weights = active[free]
    base = (at.rise << GUARD) + constant + sum(kept[~free]) + sum(pruned[free])
    left, score = room_left(state, limits), (pruned - kept)[free] + bonus[weights]
    return Choice(weights, limits.labels[weights], score, int(base), left, unit - 1, model.offset)


def _tilted(at: Gradient, pieces: Pieces) -> tuple[Gradient, int, Integers]:
    """The point with Σ βv added to its gradient, what the pieces add to 2·f in all, and to the score of each weight.

    Both in units of 2^(w_exponent + p_exponent − GUARD) of the point that is returned, rounded down.
    """
    V_exponent = exponent_of(pieces.V)
    V = integers(pieces.V, V_exponent)
    along, along_exponent = V.T.dot(at.w), V_exponent + at.w_exponent
    with np.errstate(all="ignore"):
        beta = nearest(along, along_exponent) * (1.0 / pieces.share - 1.0)
    beta = np.where(np.isfinite(beta), beta, 0.0)  # any number will do
    beta_exponent, hold_exponent = exponent_of(beta), exponent_of(pieces.hold)
    slope, hold = integers(beta, beta_exponent), integers(pieces.hold, hold_exponent)
    p_exponent = min(at.p_exponent, V_exponent + beta_exponent)
    p = (at.p << (at.p_exponent - p_exponent)) + (V.dot(slope) << (V_exponent + beta_exponent - p_exponent))
    pull_exponent = min(along_exponent, beta_exponent)
    pull = (along << (along_exponent - pull_exponent)) + (slope << (beta_exponent - pull_exponent))
    unit = at.w_exponent + p_exponent - GUARD
    lost = shifted(-slope * slope, 2 * beta_exponent - unit)
    held = shifted(hold * pull * pull, hold_exponent + 2 * pull_exponent - unit)
    tilted = Gradient(at.w, at.w_exponent, p, p_exponent, at.rise << (at.p_exponent - p_exponent))
    return tilted, int(sum(lost) + sum(held)), (pieces.V != 0.0).astype(object).dot(held)
