"""The change of the joint objective by every exchange of a kept unit for a pruned one, part by part.

S are the kept and P the pruned weights, w the re-tuned weights on S, r = H(c − w) the residual on P (c = H⁻¹b), and

    B = (H_SS)⁻¹,    T = B H_SP,    Σ = H_PP − H_PS T      (the Schur complement on S).

Pruning the unit I ⊆ S raises the optimal value by ½w_Iᵀ(B_II)⁻¹w_I, turns the residual of the unit J ⊆ P into r_J +
T_IJᵀ(B_II)⁻¹w_I and its Schur complement into Σ_JJ + T_IJᵀ(B_II)⁻¹T_IJ. Keeping J then lowers the value by ½
residualᵀ(Schur complement)⁻¹ residual. The exchange of I for J changes the optimal value by exactly the rise less the
fall, which for single weights, with σ the diagonal of Σ, is

    Δ_ij = w_i²/(2B_ii) − (r_j + T_ij w_i/B_ii)² / (2(σ_j + T_ij²/B_ii)).

This takes O(1) operations for each of the |S|·|P| pairs. The changes of parts that do not interact only add.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky

from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.solvers.forms.unit_diagonal import inverse_of
from cbs_opt.solvers.forms.unit_parts import STAYS, Part, Places, SameSize
from cbs_opt.solvers.heuristic.unit_state import joint_losses, loss_of_all


class Exchanges(NamedTuple):
    """By how much the optimal value changes when units are pruned, kept or exchanged.

    Parameters
    ----------
    leaving, entering : integer arrays, shape (L,) and (E,)
        The kept units, and the pruned ones.
    loss : array, shape (L,)
        By how much pruning each kept unit alone raises the value.
    gain : array, shape (E,)
        By how much keeping each pruned unit alone lowers the value.
    change : array, shape (L, E)
        Δ, the change of the value by each exchange of a kept unit for a pruned one.
    """

    leaving: Places
    entering: Places
    loss: Vector
    gain: Vector
    change: Matrix


@dataclass(frozen=True, eq=False)
class State:
    """A part of the problem on a mask, re-tuned.

    Parameters
    ----------
    part : Part
        The part: R rows of d weights under one curvature.
    z : mask, shape (d,)
        What all its rows keep.
    factor : array, shape (S, S)
        The Cholesky factor of U_SS.
    w, residual : arrays, shape (d, R)
        The re-tuned weights, and U(c − w).
    value : float
        ½ (c − w)ᵀU(c − w), summed over the rows.
    """

    part: Part
    z: Mask
    factor: Matrix
    w: Matrix
    residual: Matrix
    value: float

    @classmethod
    def at(cls, part: Part, z: Mask) -> State:
        """The state of ``part`` on the mask ``z`` (d,), computed from scratch."""
        kept = np.flatnonzero(z)
        difference = np.where(z[:, None], 0.0, part.target)
        factor = np.zeros((0, 0))
        if kept.size:
            factor = cholesky(part.U[np.ix_(kept, kept)], lower=True, check_finite=False)
            difference[kept] = -cho_solve((factor, True), part.U[kept] @ difference, check_finite=False)
        residual = part.U @ difference
        w = np.where(z[:, None], part.target - difference, 0.0)
        return cls(part, z, factor, w, residual, 0.5 * float((difference * residual).sum()))

    @cached_property
    def exchanges(self) -> Exchanges:
        """The exchanges of this part alone."""
        part, z = self.part, self.z
        kept, pruned = np.flatnonzero(z), np.flatnonzero(~z)
        place = np.zeros(len(z), dtype=np.int64)
        place[kept], place[pruned] = np.arange(len(kept)), np.arange(len(pruned))
        inside, outside = _sorted(part, z, place)
        leaving, entering = _numbers(inside), _numbers(outside)
        w, residual = self.w[kept], self.residual[pruned]
        if len(leaving) == 1 and not len(entering) and not (z & (part.units == STAYS)).any():
            return Exchanges(
                part.names, entering, np.array([loss_of_all(part, z, w)]), np.zeros(0), np.zeros((len(leaving), 0))
            )
        B = inverse_of(self.factor)
        T = B @ part.U[np.ix_(kept, pruned)]
        loss, gain = np.zeros(len(leaving)), np.zeros(len(entering))
        change = np.zeros((len(leaving), len(entering)))
        for rows, lost in _slices(inside):
            loss[rows] = joint_losses(_blocks(B, lost.places), w[lost.places])
        for columns, gained in _slices(outside):
            schur = _schur(part.U, kept, pruned, T, gained.places)
            gain[columns] = joint_losses(schur, residual[gained.places])
            for rows, lost in _slices(inside):
                across = T[lost.places[:, None, :, None], gained.places[None, :, None, :]]
                fall = _decrease(_blocks(B, lost.places), w[lost.places], across, schur, residual[gained.places])
                change[rows, columns] = loss[rows, None] - fall
        return Exchanges(part.names[leaving], part.names[entering], loss, gain, change)


def _blocks(B: Matrix, places: Places) -> Matrix:
    """The diagonal blocks of units of the same size, shape (c, a, a)."""
    return np.asarray(B[places[:, :, None], places[:, None, :]])


def _slices(by_size: Sequence[SameSize]) -> Iterator[tuple[slice, SameSize]]:
    """For the units of every size: the slice they fill when all sizes stand one after the other, and the units."""
    start = 0
    for units in by_size:
        yield slice(start, start + len(units.number)), units
        start += len(units.number)


def _sorted(part: Part, z: Mask, place: Places) -> tuple[list[SameSize], list[SameSize]]:
    """The units that are kept and those that are pruned, by size, with their places among the kept (pruned) weights."""
    inside, outside = [], []
    for number, places in part.sizes:
        kept = z[places[:, 0]]
        inside.append(SameSize(number[kept], place[places[kept]]))
        outside.append(SameSize(number[~kept], place[places[~kept]]))
    return [units for units in inside if len(units.number)], [units for units in outside if len(units.number)]


def _numbers(by_size: Sequence[SameSize]) -> Places:
    """The numbers of the units, one size after the other."""
    return np.concatenate([units.number for units in by_size] + [np.zeros(0, dtype=np.int64)]).astype(np.int64)


def _schur(U: Matrix, kept: Places, pruned: Places, T: Matrix, places: Places) -> Matrix:
    """Σ_JJ of units J of the same size, shape (c, b, b), its diagonal not below round-off."""
    at = pruned[places]
    schur = U[at[:, :, None], at[:, None, :]] - np.einsum("kcb,kcd->cbd", U[kept[:, None, None], at], T[:, places])
    b = np.arange(places.shape[1])
    schur[:, b, b] = np.maximum(schur[:, b, b], EPS * U[at, at])
    return schur


def _decrease(block: Matrix, w: Matrix, across: Matrix, schur: Matrix, residual: Matrix) -> Matrix:
    """What keeping each unit J lowers the value by once each unit I is pruned, shape (L, E).

    Parameters
    ----------
    block : (L, a, a), w : (L, a, R), across : T_IJ (L, E, a, b), schur : (E, b, b), residual : (E, b, R)
    """
    a, b = across.shape[2:]
    if a == 1:
        share: Matrix = across / block[:, :, :, None]
    else:
        right = across.swapaxes(1, 2).reshape(len(block), a, -1)
        solved = np.asarray(np.linalg.solve(block + EPS * block * np.eye(a), right), dtype=np.float64)
        share = solved.reshape(len(block), a, len(schur), b).swapaxes(1, 2)
    after = residual + np.einsum("leab,lar->lebr", share, w)
    if b == 1 and a == 1:
        return np.asarray(0.5 * (after[:, :, 0] ** 2).sum(-1) / (schur[:, 0, 0] + (share * across)[:, :, 0, 0]))
    grown = schur + np.einsum("leab,lead->lebd", across, share)
    pairs = len(block) * len(schur)
    return joint_losses(grown.reshape(pairs, b, b), after.reshape(pairs, b, -1)).reshape(len(block), len(schur))


def exchanges_of(states: Sequence[State]) -> Exchanges:
    """The exchanges of all parts together."""
    of_parts = [state.exchanges for state in states]
    if len(of_parts) == 1:
        return of_parts[0]
    leaving = np.unique(np.concatenate([part.leaving for part in of_parts]))
    entering = np.unique(np.concatenate([part.entering for part in of_parts]))
    loss, gain = np.zeros(len(leaving)), np.zeros(len(entering))
    together = np.zeros((len(leaving), len(entering)))
    for part in of_parts:
        rows, columns = np.searchsorted(leaving, part.leaving), np.searchsorted(entering, part.entering)
        loss[rows] += part.loss
        gain[columns] += part.gain
        # What is added is how the two units act on each other; in parts where one is missing there is no such term.
        together[np.ix_(rows, columns)] += part.change - part.loss[:, None] + part.gain
    return Exchanges(leaving, entering, loss, gain, loss[:, None] - gain + together)


def value_at(H: Matrix, center: Vector, mask: Mask) -> float:
    """½ (c − w)ᵀH(c − w) of the best w on ``mask``, for a dense H of shape (n, n)."""
    weights = np.arange(len(center))
    return State.at(Part(H, center[:, None], weights[None], weights), mask).value
