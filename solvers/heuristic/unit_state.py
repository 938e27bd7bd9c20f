"""A part of a problem, re-tuned on what it keeps, and what pruning each of its units would cost.

With S the weights still kept, B = (H_SS)⁻¹ and w the re-tuned weights on S, pruning the unit P ⊆ S costs

    ½ w_Pᵀ (B_PP)⁻¹ w_P,     and then     w ← w − B_:P (B_PP)⁻¹ w_P,     B ← B − B_:P (B_PP)⁻¹ B_P:

are the exactly re-tuned weights and the exact inverse for S∖P. Weights of a unit that make up for one another cost
little each and much together, which the sum of their single costs does not show.

Downdates lose digits as the entries of B shrink. B is therefore computed afresh, from a Cholesky factor of H scaled to
unit diagonal, when an entry of its diagonal has shrunk so far that the lost digits count, and whenever half of the
weights that it was computed for are gone, which also halves the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import blas, cho_factor, cho_solve, cholesky

from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.solvers.forms.unit_diagonal import inverse_of
from cbs_opt.solvers.forms.unit_parts import GONE, STAYS, Part

SHRUNK = 1e-5
"""Share of its freshly computed value at which a diagonal entry of B has lost too many digits."""

Inverses = dict[tuple[int, bytes], Matrix]
"""(U_SS)⁻¹ by U and S, so that parts that keep the same places share one inverse."""


def joint_losses(B: Matrix, w: Matrix) -> Vector:
    """½ w_Pᵀ (B_PP)⁻¹ w_P, summed over rows, for c units P of a weights each; shape (c,).

    Parameters
    ----------
    B : array, shape (c, a, a)
        The block B_PP of each unit.
    w : array, shape (c, a, R)
        The weights of each unit in R rows.
    """
    if w.shape[1] == 1:
        return np.asarray(0.5 * (w[:, 0] ** 2).sum(axis=1) / B[:, 0, 0])
    diagonal = np.einsum("cii->ci", B)
    scale = 1.0 / np.sqrt(np.maximum(diagonal, np.finfo(float).tiny))
    unit = B * scale[:, :, None] * scale[:, None, :]
    unit[:, np.arange(w.shape[1]), np.arange(w.shape[1])] = 1.0 + w.shape[1] * EPS
    v = w * scale[:, :, None]
    return np.maximum(0.5 * np.einsum("car,car->c", v, np.linalg.solve(unit, v)), 0.0)


class Tuned:
    """A part of a problem, re-tuned on the weights that it still keeps.

    Attributes
    ----------
    z : mask, shape (d,)
        The weights that are kept.
    loss : array, shape (names,)
        What pruning each of the units ``part.names`` costs in this part; zero for units that are pruned.
    """

    def __init__(self, part: Part, inverses: Inverses) -> None:
        self.part, self.z = part, part.units != GONE
        self._alive = np.ones(len(part.names), dtype=np.bool_)
        self._refresh(inverses)

    def _refresh(self, inverses: Inverses) -> None:
        """Compute the weights, the inverse and the losses afresh."""
        kept = np.flatnonzero(self.z)
        self._place = np.full(len(self.z), -1)
        self._place[kept] = np.arange(len(kept))
        self.w = retuned(self.part, self.z)
        self._left = len(kept)
        self.B = np.zeros((0, 0))
        if not self._one_unit():
            self.B = _inverse(self.part, self.z, inverses)
        self._first, self._owned = self.B.diagonal().copy(), False
        self._judge()

    def _one_unit(self) -> bool:
        """Whether all that is kept is one unit, so that no inverse is needed."""
        return np.count_nonzero(self._alive) == 1 and not (self.z & (self.part.units == STAYS)).any()

    def _judge(self) -> None:
        """Compute what pruning each unit costs."""
        self.loss = np.zeros(len(self._alive))
        if self._one_unit():
            self.loss[self._alive] = loss_of_all(self.part, self.z, self.w[self._place[self.z]])
            return
        for number, places in self.part.sizes:
            alive = self._alive[number]
            at = self._place[places[alive]]
            self.loss[number[alive]] = joint_losses(self.B[at[:, :, None], at[:, None, :]], self.w[at])

    def prune(self, unit: int) -> None:
        """Prune all weights of one of the units ``part.names``, and re-tune the others."""
        self._alive[np.searchsorted(self.part.names, unit)] = False
        places = self.part.places_of(unit)
        self.z[places] = False
        if np.count_nonzero(self.z) > self._left // 2 and len(self.B):
            self._downdate(self._place[places])
            if (self.B.diagonal() >= SHRUNK * self._first).all():
                self._judge()
                return
        self._refresh({})

    def _downdate(self, p: np.ndarray) -> None:
        """Re-tune the weights and update the inverse after the positions ``p`` are pruned."""
        if not self._owned:
            self.B, self._owned = self.B.copy(order="F"), True
        columns = self.B[:, p].copy()
        if len(p) == 1:
            self.w -= columns * (self.w[p] / columns[p])
            self.B = blas.dger(-1.0 / columns[p[0], 0], columns[:, 0], columns[:, 0], a=self.B, overwrite_a=True)
        else:
            solved = np.linalg.solve(columns[p] + EPS * np.diag(columns[p].diagonal()), np.c_[self.w[p], columns.T])
            self.w -= columns @ solved[:, : self.w.shape[1]]
            self.B -= columns @ solved[:, self.w.shape[1] :]
        self.w[p] = self.B[p, :] = self.B[:, p] = 0.0
        self.B[p, p] = self._first[p]


def retuned(part: Part, z: Mask) -> Matrix:
    """The re-tuned weights on the kept set S, shape (S, R)."""
    kept, pruned = np.flatnonzero(z), np.flatnonzero(~z)
    w: Matrix = part.target[kept]
    if kept.size and pruned.size:
        factor = cho_factor(part.U[np.ix_(kept, kept)], lower=True, check_finite=False)
        across = part.U[np.ix_(kept, pruned)] @ part.target[pruned]
        w = w + cho_solve(factor, across, check_finite=False)
    return w


def loss_of_all(part: Part, z: Mask, w: Matrix) -> float:
    """What pruning all that ``z`` keeps costs, ½ w_SᵀU_SSw_S summed over rows, for ``w`` of shape (S, R)."""
    kept = np.flatnonzero(z)
    return 0.5 * float((w * (part.U[np.ix_(kept, kept)] @ w)).sum())


def _inverse(part: Part, z: Mask, inverses: Inverses) -> Matrix:
    """(U_SS)⁻¹, shape (S, S), in column-major order."""
    key = id(part.U), z.tobytes()
    if key not in inverses:
        kept = np.flatnonzero(z)
        inverses[key] = inverse_of(cholesky(part.U[np.ix_(kept, kept)], lower=True, check_finite=False))
    return inverses[key]


def tuned(parts: Sequence[Part]) -> list[Tuned]:
    """All ``parts``, re-tuned on the weights that their units do not mark as ``GONE``."""
    inverses: Inverses = {}
    return [Tuned(part, inverses) for part in parts]
