"""A point (D, ŵ) for a node, made of what the search recorded about it: proven to be admissible, and good.

The search eliminates the weights U that a node keeps and knows D and ŵ on its free weights F only. D is shrunk there
by a factor 1 − δ, so that a small ε is left for U, and ŵ_U makes the gradient vanish on U. With R_F ⪰ 0 for the
Schur complement of U and λ the smallest eigenvalue of the (scaled) H,

    H_AA − diag(ε, (1 − δ)D_F) ⪰ δ H_AA − ε I ⪰ (δλ − ε) I,

so ε = δλ/4 leaves ¾δλ for round-off; δ is the first that goes through. What U then costs in (B), p_i²/(2ε), is
negligible because ŵ is the sum of two float64 numbers, found by iterative refinement with exact residuals.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.proof.certificate.limits import Limits
from cbs_opt.proof.certificate.record import PieceTable
from cbs_opt.proof.check.definite import Definiteness
from cbs_opt.proof.check.exact_model import ExactModel
from cbs_opt.proof.check.integers import nearest
from cbs_opt.proof.check.region import FREE, KEPT, PRUNED, Pieces, State, choice_at, settled

if TYPE_CHECKING:
    from cbs_opt.solvers.exact.bnb_nodes import NodeRecord, PieceRecord

LEAST_SHRINKING = 1e-13
"""The smallest δ that is tried; from node to node the last one that went through is the guide."""

LEAST_SHARE = 1e-6
"""Of a piece, which is divided by it."""

WELL_CONDITIONED = 1e-6
"""With a smallest eigenvalue of the scaled H above this, one step of refinement reaches the last bit;"""

MOST_REFINEMENTS = 8
"""else steps are taken as long as they help, at the most so many."""

FATHOMED = 0
"""Outcome of a node that its bound closed, in the search's records."""


class Point(NamedTuple):
    """A point of a node that is proven, what it proves, and the least it proves where one fixed weight is flipped."""

    D: Vector
    w: Vector
    low: Vector
    bound: Fraction
    fixed_bound: Fraction | None
    pieces: PieceTable | None = None  # of this point alone


class PointMaker:
    """Makes points for the nodes of one search."""

    def __init__(self, problem: PruningProblem, limits: Limits) -> None:
        from cbs_opt.solvers.bounds.centered import CenteredBlock

        self.model = ExactModel.of(problem)
        self._definite = Definiteness(self.model)
        self._limits = limits
        block = CenteredBlock.of(problem)
        # The search's units, undone: H = H'·unit², f = scale·f', hence w = w'·√scale/unit.
        unit = np.sqrt(problem.curvature.below().dense().diagonal() / block.H.diagonal())
        self._D_unit, self._w_unit = unit * unit, math.sqrt(block.scale) / unit
        self._smallest = max(float(np.linalg.eigvalsh(self._definite.H)[0]), 1e-15)
        self._delta = LEAST_SHRINKING

    def point(self, record: NodeRecord, wanted: Fraction | None) -> Point | None:
        """The point that was recorded, made exact; where that proves less than ``wanted``, the node's minimizer."""
        region = settled(record.before, self._limits)
        D = np.where(region == FREE, record.D * self._D_unit, 0.0)
        recorded = np.where(region == FREE, record.w * self._w_unit, 0.0)
        best = self._completed(record, region, D, recorded, region == KEPT, record.pieces)
        if record.outcome == FATHOMED and (best is None or wanted is None or best.bound < wanted):
            # Some nodes are closed by their minimizer's value alone, before D and w are looked at.
            other = self._completed(record, region, D, recorded, region != PRUNED, None)
            if other is not None and (best is None or other.bound > best.bound):
                best = other
        return best

    def _completed(
        self, record: NodeRecord, region: State, D: Vector, w: Vector, solved: Mask, pieces: PieceRecord | None
    ) -> Point | None:
        """Extend (D, w) to the kept weights, make the gradient vanish on ``solved``, and see what it proves."""
        active = np.flatnonzero(region != PRUNED)
        table = None if pieces is None else self._table(pieces, region)
        found = self._admissible(active, region[active] == FREE, D, table, region)
        if found is None:
            return None
        admissible, table, within = found
        w, low = self._stationary(w, np.flatnonzero(solved))
        chosen = choice_at(self.model, region, self._limits, admissible, self.model.gradient(w, low), within)
        flips = (
            chosen.flipped(int(i), KEPT + PRUNED - int(record.after[i]))
            for i in np.flatnonzero(screened(record, region))
        )
        least = min((flip for flip in flips if flip is not None), default=None)
        return Point(admissible, w, low, chosen.bound, least, table)

    def _table(self, pieces: PieceRecord, region: State) -> PieceTable:
        """The pieces of a record in the units of H, those of a kept weight left out."""
        from cbs_opt.solvers.bounds.pieces_newton import smooth

        there = pieces.members >= 0
        state = np.where(there, region[pieces.members], PRUNED)
        counts = (state != KEPT).all(axis=1) & (pieces.q > 0.0)
        kept = np.where((state == FREE) & there, pieces.z[pieces.members], 0.0).sum(axis=1)
        share, hold, _ = smooth(np.where(counts, kept, 1.0))
        return PieceTable(
            members=pieces.members,
            direction=np.where(there, pieces.u * np.sqrt(self._D_unit)[pieces.members], 0.0),
            size=np.where(counts, np.sqrt(pieces.q), 0.0).astype(np.float32)[None],
            share=np.maximum(np.where(counts, share, 1.0), LEAST_SHARE).astype(np.float32)[None],
            hold=np.where(counts, np.clip(hold, 0.0, 1.0), 0.0).astype(np.float32)[None],
        )

    def _stationary(self, w: Vector, U: NDArray[np.int64]) -> tuple[Vector, Vector]:
        """ŵ as two float64 vectors: ``w`` outside U, and on U where the gradient vanishes."""
        low = np.zeros_like(w)
        if U.size == 0:
            return w, low
        t, H = self._definite.t, self._definite.H
        inverse = np.linalg.inv(H[U[:, None], U])
        d = w - self.model.w_bar
        d[U] = 0.0
        p = np.ldexp(self.model.g, t) + H @ np.ldexp(d, -t)
        w = w.copy()
        w[U] = self.model.w_bar[U] - np.ldexp(inverse @ p[U], t[U])
        least, refined = math.inf, low
        for _ in range(1 if self._smallest > WELL_CONDITIONED else MOST_REFINEMENTS):
            at = self.model.gradient(w, refined)
            residual = np.ldexp(nearest(at.p[U], at.p_exponent), t[U])
            size = float(np.abs(residual).max())
            if size >= least:
                return w, low
            least, low, refined = size, refined, refined.copy()
            refined[U] -= np.ldexp(inverse @ residual, t[U])
        return w, refined

    def _admissible(
        self, active: NDArray[np.int64], free: Mask, D: Vector, table: PieceTable | None, region: State
    ) -> tuple[Vector, PieceTable | None, Pieces | None] | None:
        """D and pieces with H_AA − diag(D_A) − V_A V_Aᵀ ⪰ 0 proven, a little less than given on F, D tiny on U."""
        unit = np.ldexp(1.0, -2 * self._definite.t[active])
        delta = self._delta
        while delta < 0.5:
            tiny = 0.25 * delta * self._smallest * unit
            trial = np.zeros_like(D)
            trial[active] = np.where(free & (D[active] > 0.0), (1.0 - delta) * D[active], tiny)
            less, within = self._smaller(table, delta, region)
            V = None if within is None else within.V
            if self._definite.proves(active, trial[active], V, strict=True):
                self._delta = max(delta / 4.0, LEAST_SHRINKING) if delta == self._delta else delta
                return trial, less, within
            delta *= 4.0
        return None

    def _smaller(
        self, table: PieceTable | None, delta: float, region: State
    ) -> tuple[PieceTable | None, Pieces | None]:
        """Pieces shrunk by 1 − δ, and what the verifier will make of them on the region."""
        if table is None:
            return None, None
        size = np.nextafter((np.sqrt(1.0 - delta) * table.size).astype(np.float32), np.float32(0.0))
        less = replace(table, size=size)
        V = self._definite.on_grid(less.columns(0, self.model.n))
        return less, Pieces(V, *(row[0].astype(np.float64) for row in (less.share, less.hold))).within(region)


def screened(record: NodeRecord, region: State) -> Mask:
    """What a node's point fixes, shape (n,): not what was settled in its ``region`` because its label has no choice."""
    return (record.before != record.after) & (region == FREE)
