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
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.proof.certificate.limits import Limits
from cbs_opt.proof.check.definite import Definiteness
from cbs_opt.proof.check.exact_model import ExactModel
from cbs_opt.proof.check.integers import nearest
from cbs_opt.proof.check.region import FREE, KEPT, PRUNED, State, choice_at, settled

if TYPE_CHECKING:
    from cbs_opt.solvers.exact.bnb_nodes import NodeRecord

LEAST_SHRINKING = 1e-13
"""The smallest δ that is tried; from node to node the last one that went through is the guide."""

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
        best = self._completed(record, region, D, recorded, region == KEPT)
        if record.outcome == FATHOMED and (best is None or wanted is None or best.bound < wanted):
            # Some nodes are closed by their minimizer's value alone, before D and w are looked at.
            other = self._completed(record, region, D, recorded, region != PRUNED)
            if other is not None and (best is None or other.bound > best.bound):
                best = other
        return best

    def _completed(self, record: NodeRecord, region: State, D: Vector, w: Vector, solved: Mask) -> Point | None:
        """Extend (D, w) to the kept weights, make the gradient vanish on ``solved``, and see what it proves."""
        active = np.flatnonzero(region != PRUNED)
        admissible = self._admissible(active, region[active] == FREE, D)
        if admissible is None:
            return None
        w, low = self._stationary(w, np.flatnonzero(solved))
        chosen = choice_at(self.model, region, self._limits, admissible, self.model.gradient(w, low))
        flips = (
            chosen.flipped(int(i), KEPT + PRUNED - int(record.after[i]))
            for i in np.flatnonzero(screened(record, region))
        )
        return Point(admissible, w, low, chosen.bound, min((flip for flip in flips if flip is not None), default=None))

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

    def _admissible(self, active: NDArray[np.int64], free: Mask, D: Vector) -> Vector | None:
        """D with H_AA − diag(D_A) ⪰ 0 proven, a little less than given on F and tiny on U."""
        unit = np.ldexp(1.0, -2 * self._definite.t[active])
        delta = self._delta
        while delta < 0.5:
            tiny = 0.25 * delta * self._smallest * unit
            trial = np.zeros_like(D)
            trial[active] = np.where(free & (D[active] > 0.0), (1.0 - delta) * D[active], tiny)
            if self._definite.proves(active, trial[active], strict=True):
                self._delta = max(delta / 4.0, LEAST_SHRINKING) if delta == self._delta else delta
                return trial
            delta *= 4.0
        return None


def screened(record: NodeRecord, region: State) -> Mask:
    """What a node's point fixes, shape (n,): not what was settled in its ``region`` because its label has no choice."""
    return (record.before != record.after) & (region == FREE)
