"""Bound (B) on a region of masks from one point, and what it becomes if one more weight is fixed, in exact arithmetic.

The masks of a region keep the weights U, prune the weights P, and may keep or prune the free weights F; of those with
label l, K_l more may be kept. On A = U ∪ F let H_AA − diag(D) ⪰ 0 with D > 0. For any ŵ with ŵ_P = 0 and p = ∇f(ŵ),
every w with w_P = 0 has

    f(w) ≥ f(ŵ) + Σ_{i∈A} [ p_i (w_i − ŵ_i) + ½ D_i (w_i − ŵ_i)² ].

In this sum a kept weight contributes at least κ_i = −p_i²/(2D_i), and a pruned one (w_i = 0) exactly
π_i = ½D_iŵ_i² − p_iŵ_i. The difference π_i − κ_i = (D_iŵ_i − p_i)²/(2D_i) is the score s_i of bound (B). So

    f ≥ f(ŵ) + Σ_U κ_i + Σ_F π_i − Σ_l (the K_l largest scores of the free weights with label l).            (B)

With *pieces*, H_AA − diag(D) − VVᵀ ⪰ 0, each column v of V, which has entries on a few weights S ⊂ F, adds
½(vᵀ(w − ŵ))² to the right-hand side. For any β and 0 ≤ θ ≤ 1,

    ½(vᵀ(w − ŵ))² ≥ βvᵀ(w − ŵ) − ½β² + θ·½(vᵀŵ + β)²·(1 − (how many of S are kept)).

If a weight of S is kept, the last term is not positive, and a square is nowhere below its tangents. If none is kept,
vᵀw = 0, and the square exceeds the tangent by exactly ½(vᵀŵ + β)². So βv is added to p, −½β² + θ·½(vᵀŵ + β)² to the
constant, and θ·½(vᵀŵ + β)² to the score of each weight of S. A piece with a weight in U is left out, which is allowed
because its square is not negative.

Weights in U may take any value, zero included. Quotients are rounded down, far below the last bit of the data.
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
"""The number of bits below the last bit of the data that quotients are computed to, rounded down."""


def room_left(state: State, limits: Limits) -> Counts:
    """How many more weights of each label the region may keep, shape (labels,); below 0 where it has no mask."""
    return limits.room - limits.count(state == KEPT)


def settled(state: State, limits: Limits) -> State:
    """The region after every label without a choice is decided.

    The free weights of a label are pruned if it has no room left, and kept if it has room for all of them. This
    excludes no w, since kept weights may be zero. Where every label has a choice, ``state`` itself is returned.
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
    """The minimum over the masks of a region of Σ costs, where each free weight costs κ_i if kept and π_i if pruned.

    At most so many free weights of each label are kept as the label has room for.

    Parameters
    ----------
    free : integer array
        The indices of the free weights.
    label : integer array
        The labels of the free weights, in their order.
    score : integers
        π_i − κ_i ≥ 0 of the free weights, in their order, in units of 2^exponent.
    base : int
        The sum of all costs with all free weights pruned, in units of 2^exponent.
    room : array (labels,)
        How many free weights of each label may be kept; a negative number counts as 0.
    exponent : int
        The unit of ``score`` and ``base`` is 2^exponent.
    offset : Fraction
        A constant that is added to the sum.
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
        self._scores: dict[int, list[int]] = {}  # for each label, its scores in descending order
        self._place: dict[int, tuple[int, int]] = {}  # for each weight, its label and its rank among its scores
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
        """A lower bound on f where free weight ``i`` is kept or pruned (``side``); None if there is no such mask."""
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
    """The columns of V beside the diagonal D, and the β and θ of each.

    Parameters
    ----------
    V : array (n, E)
        One column for each piece.
    share : array (E,)
        ζ > 0, which gives β = vᵀŵ(1/ζ − 1), rounded in float64; the bound holds for any β.
    hold : array (E,)
        θ, from 0 to 1.
    """

    V: Matrix
    share: Vector
    hold: Vector

    def within(self, state: State) -> Pieces:
        """The pieces that can be used in the region ``state``: those without kept weights, zero at pruned weights."""
        V = np.where((state == PRUNED)[:, None], 0.0, self.V)
        stays = (V != 0.0).any(axis=0) & ~(V[state == KEPT] != 0.0).any(axis=0)
        return Pieces(V[:, stays], self.share[stays], self.hold[stays])


def choice(
    model: ExactModel, state: State, limits: Limits, D: Vector, w: Vector, low: Vector, pieces: Pieces | None = None
) -> Choice:
    """Bound (B) on the region ``state`` from D and ŵ = w + low.

    The caller must have proven D_A > 0 and H_AA − diag(D_A) − V_A V_Aᵀ ⪰ 0. Entries of D, w and low at pruned weights
    are ignored.
    """
    pruned = state == PRUNED
    at = model.gradient(np.where(pruned, 0.0, w), np.where(pruned, 0.0, low))
    return choice_at(model, state, limits, D, at, None if pieces is None else pieces.within(state))


def choice_at(
    model: ExactModel, state: State, limits: Limits, D: Vector, at: Gradient, pieces: Pieces | None = None
) -> Choice:
    """Bound (B) as of ``choice``, at a point whose gradient is known and with the pieces ``within`` the region."""
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
    """The point with Σ βv added to its gradient, what the pieces add to 2·f, and to the score of each weight.

    The last two are in units of 2^(w_exponent + p_exponent − GUARD) of the returned point, rounded down.
    """
    V_exponent = exponent_of(pieces.V)
    V = integers(pieces.V, V_exponent)
    along, along_exponent = V.T.dot(at.w), V_exponent + at.w_exponent
    with np.errstate(all="ignore"):
        beta = nearest(along, along_exponent) * (1.0 / pieces.share - 1.0)
    beta = np.where(np.isfinite(beta), beta, 0.0)  # the bound holds for any β
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
