"""A point (D, ŵ) for a node of a certificate, made from what the search recorded about the node.

The search eliminates the weights U that a node keeps, and knows D and ŵ only on its free weights F. Here D_F is shrunk
by a factor 1 − δ, so that a small ε is left for D_U, and ŵ_U is chosen so that the gradient vanishes on U. Where D_F is
admissible for the Schur complement of U, and λ is the smallest eigenvalue of the (scaled) H,

    H_AA − diag(ε, (1 − δ)D_F) ⪰ δ H_AA − ε I ⪰ (δλ − ε) I,

so that ε = δλ/4 leaves ¾δλ for round-off. δ is increased until the admissibility is proven. What U then costs in bound
(B), p_i²/(2ε), is negligible, because ŵ is the sum of two float64 numbers, found by iterative refinement with exact
residuals.
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
"""The smallest δ that is tried. Each node starts with about the δ that succeeded at the node before."""

LEAST_SHARE = 1e-6
"""The smallest share ζ of a piece; β has a factor 1/ζ."""

WELL_CONDITIONED = 1e-6
"""If the smallest eigenvalue of the scaled H is above this, one step of refinement reaches the last bit."""

MOST_REFINEMENTS = 8
"""The largest number of refinement steps for other H; they end as soon as one does not help."""

FATHOMED = 0
"""The outcome, in the records of a search, of a node that its bound closed."""


class Point(NamedTuple):
    """A point (D, ŵ = w + low) that is proven admissible for a node, and the bounds that it proves.

    ``bound`` holds on the node's region, and ``fixed_bound`` wherever a weight that the node fixes is decided
    differently.
    """

    D: Vector
    w: Vector
    low: Vector
    bound: Fraction
    fixed_bound: Fraction | None
    pieces: PieceTable | None = None  # with one row, for this point


class PointMaker:
    """Makes the points of the nodes of one search."""

    def __init__(self, problem: PruningProblem, limits: Limits) -> None:
        from cbs_opt.solvers.bounds.centered import CenteredBlock

        self.model = ExactModel.of(problem)
        self._definite = Definiteness(self.model)
        self._limits = limits
        block = CenteredBlock.of(problem)
        # From the units of the search (primed) to those of the problem: H = H'·unit², f = scale·f', w = w'·√scale/unit.
        unit = np.sqrt(problem.curvature.below().dense().diagonal() / block.H.diagonal())
        self._D_unit, self._w_unit = unit * unit, math.sqrt(block.scale) / unit
        self._smallest = max(float(np.linalg.eigvalsh(self._definite.H)[0]), 1e-15)
        self._delta = LEAST_SHRINKING

    def point(self, record: NodeRecord, wanted: Fraction | None) -> Point | None:
        """The point of a node; None where none is proven admissible.

        It is the recorded point. At a node that its bound closed, where this point proves less than ``wanted``, it is
        the minimizer of f over the node if that proves more.
        """
        region = settled(record.before, self._limits)
        D = np.where(region == FREE, record.D * self._D_unit, 0.0)
        recorded = np.where(region == FREE, record.w * self._w_unit, 0.0)
        best = self._completed(record, region, D, recorded, region == KEPT, record.pieces)
        if record.outcome == FATHOMED and (best is None or wanted is None or best.bound < wanted):
            # The search closes some nodes by the value of their minimizer, before it computes D and w.
            other = self._completed(record, region, D, recorded, region != PRUNED, None)
            if other is not None and (best is None or other.bound > best.bound):
                best = other
        return best

    def _completed(
        self, record: NodeRecord, region: State, D: Vector, w: Vector, solved: Mask, pieces: PieceRecord | None
    ) -> Point | None:
        """The point that extends (D, w) to the kept weights, its gradient zero on ``solved``, with its bounds."""
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
        """The pieces of a record in the units of H; those with a kept weight get the size 0."""
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
        """ŵ as the sum of two float64 vectors: it equals ``w`` outside U, and makes the gradient vanish on U."""
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
        """D and pieces with H_AA − diag(D_A) − V_A V_Aᵀ ⪰ 0 proven; None where no δ below ½ succeeds.

        On F they are a little smaller than given, and D is tiny on U.
        """
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
        """The pieces shrunk by 1 − δ, and the form in which the verifier will use them on the region."""
        if table is None:
            return None, None
        size = np.nextafter((np.sqrt(1.0 - delta) * table.size).astype(np.float32), np.float32(0.0))
        less = replace(table, size=size)
        V = self._definite.on_grid(less.columns(0, self.model.n))
        return less, Pieces(V, *(row[0].astype(np.float64) for row in (less.share, less.hold))).within(region)


def screened(record: NodeRecord, region: State) -> Mask:
    """The weights that a node's point fixes, shape (n,), without those that ``settled`` decides by the label alone."""
    return (record.before != record.after) & (region == FREE)
