"""The master problem of one part of the masks: LPs, dives and MILPs, each of which adds tangents (``highs_oa``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import TerminationCondition
from cbs_opt.kernel.update import obs_update
from cbs_opt.models.outer_approximation import Point, build
from cbs_opt.solvers.exact.decided import fixed
from cbs_opt.solvers.exact.highs_master import SCALE, HighsMaster
from cbs_opt.solvers.exact.highs_rest import Rest
from cbs_opt.solvers.exact.highs_root import Root

if TYPE_CHECKING:
    from cbs_opt.solvers.exact.highs_oa import Search

LP_ROUNDS = 60
"""Rounds of the LP at the most."""

LP_RISE = 1e-4
"""Rise of the LP's bound, in units of V, that is worth another round; three rounds in a row below it are the last."""

LP_VIOLATION = 3e-5
"""A tangent is added to the LP where its violation, in units of V, is above this."""

DIVES = 6
"""Dives that look for tangents."""

DIVE_VIOLATION = 1e-3
"""A tangent is added in a dive where its violation is above this: a coarse value, for the tree and not for the root."""

BETTER = 0.99
"""A new master is built once the incumbent is below this part of the one that the master was built for."""


class Stage:
    """The master problem of one part, built for what is left of it at the incumbent of that time."""

    def __init__(self, search: Search, root: Root, slack: float, cutoff: float) -> None:
        self._search, self._cutoff = search, cutoff
        self._kept, self._free, self._base = root.kept, root.free, root.reduction.base
        reduction = root.reduction
        self._problem = PruningProblem(reduction.c, reduction.H, Rest(root.pattern, root.free))
        self._start = search.value
        # Every mask no worse than the incumbent has at most this loss in the rounded copy that the reduction is.
        self._V = (search.value - reduction.base + slack) * (1.0 + 1e-9)
        self._master = build(self._problem, incumbent=self._V, D=root.D, scale=SCALE)
        self._highs = HighsMaster(self._master)
        self._margin = search.arithmetic() + slack
        self._exact: set[bytes] = set()

    def prove(self) -> bool:
        """Solve the LPs, dives and MILPs; returns whether the incumbent became so good that a new master pays."""
        indispensable = np.isin(np.arange(self._problem.n), list(self._master.model.indispensable))
        if fixed(self._problem.Z, indispensable, np.zeros_like(indispensable)) is None:
            self._search.raise_bound(self._cutoff, self._cutoff)
            return False
        self._tangents_at(self._problem.Z.argmax(self._search.mask[self._free].astype(np.float64)))
        root = self._close()
        if root is None:
            return False
        for first in np.argsort(-root.z, kind="stable")[:DIVES]:
            self._dive(int(first))
        if self._much_better:
            return True
        self._highs.make_discrete()
        allowed = self._search.allowed / self._V
        least = max(0.05 * allowed / len(self._free), 1e-9)
        while True:
            point = self._solve(max(allowed / 3.0, 1e-10))
            if point is None:
                return False
            mask = self._round(point)
            if self._much_better:
                return True
            if self._search.closed:
                return False
            if mask.tobytes() in self._exact:
                return self._search.give_up()
            self._highs.add_tangents(point, least)
            self._tangents_at(mask)

    def _close(self) -> Point | None:
        """Add tangents at the LP's solutions until its bound stops rising; the last one, None if the part is done."""
        idle, last = 0, -math.inf
        point = None
        for _ in range(LP_ROUNDS):
            point = self._solve()
            if point is None:
                return None
            self._round(point)
            value = self._master.value_at(point)
            idle, last = idle + 1 if value - last < LP_RISE else 0, value
            if idle == 3 or not self._highs.add_tangents(point, LP_VIOLATION):
                break
        return point

    def _dive(self, first: int) -> None:
        """Fix one weight after the other as kept, the largest z first, and add tangents that are violated by much."""
        kept = [first]
        while True:
            self._highs.restrict(kept[-1], 1.0, 1.0)
            answer = self._highs.solve(self._search.remaining, 0.0)
            if answer.point is None or answer.bound * self._V + self._base >= self._cutoff:
                break
            self._highs.add_tangents(answer.point, DIVE_VIOLATION)
            undecided = np.where(answer.point.z < 1.0 - 1e-6, answer.point.z, 0.0)
            if undecided.max() <= 1e-6:
                self._round(answer.point)
                break
            kept.append(int(np.argmax(undecided)))
        for weight in kept:
            self._highs.restrict(weight, 0.0, 1.0)

    def _solve(self, gap: float = 0.0) -> Point | None:
        """Run HiGHS and raise the bound; returns HiGHS' solution, or None where the part is done."""
        answer = self._highs.solve(self._search.remaining, gap)
        self._search.nodes += answer.nodes
        rise = math.nextafter(answer.bound * self._V, -math.inf)
        self._search.raise_bound(sum_below(self._base, rise, -self._margin), self._cutoff)
        if answer.termination is not TerminationCondition.CONVERGED:
            self._search.termination = answer.termination
            return None
        if answer.point is None:
            self._search.give_up(f"HiGHS ended with '{answer.failure}': the bound is what was proven before")
        return None if self._search.closed else answer.point

    def _round(self, point: Point) -> Mask:
        """The mask of the pattern with the largest z of ``point``, which is also offered as an incumbent."""
        mask = self._problem.Z.argmax(point.z)
        whole = self._kept.copy()
        whole[self._free] = mask
        self._search.offer(whole)
        return mask

    def _tangents_at(self, mask: Mask) -> None:
        """Add the tangents at the re-tuned weights of ``mask``, so that the master is exact at this mask."""
        self._exact.add(mask.tobytes())
        self._highs.add_tangents(self._master.point_of(obs_update(self._problem, mask), mask), -1.0)

    @property
    def _much_better(self) -> bool:
        return self._search.value < BETTER * self._start
