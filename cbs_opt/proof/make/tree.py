"""From the record of a search to the tree of a certificate: which nodes are needed, and which bound they prove."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import EPS, Mask
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.update import obs_update
from cbs_opt.proof.certificate.digest import claim_digest
from cbs_opt.proof.certificate.limits import Limits
from cbs_opt.proof.certificate.record import PieceTable, Progress, Proof, Tree
from cbs_opt.proof.check.integers import below
from cbs_opt.proof.check.region import FREE, KEPT, PRUNED, settled
from cbs_opt.proof.make.points import Point, PointMaker, screened

if TYPE_CHECKING:
    from cbs_opt.solvers.exact.bnb_nodes import NodeRecord


class TreeMaker:
    """Makes a certificate from the records of a search: the best bound that they prove, and only the nodes it needs.

    Parameters
    ----------
    problem : PruningProblem
        The problem that was searched.
    records : sequence of NodeRecord
        The nodes in the order of their index, the root first; children that were not processed may be missing.
    mask : boolean array (n,)
        The incumbent.
    wanted : float
        The bound of the search. A node that was split gets a point of its own only where its children prove less.
    """

    def __init__(self, problem: PruningProblem, records: Sequence[NodeRecord], mask: Mask, wanted: float) -> None:
        # The search may have restarted from its root: only the records of the last tree count.
        records = records[max(place for place, record in enumerate(records) if record.index == 0) :]
        self._problem = problem
        self._records = records
        self._mask = mask
        self._wanted = Fraction(wanted) if math.isfinite(wanted) else None
        self._limits = Limits.of(problem)
        self._maker = PointMaker(problem, self._limits)
        self._points: dict[int, Point | None] = {}
        self._children: dict[tuple[int, int], int] = {}
        for record in records[1:]:
            side = int(record.before[records[record.parent].branch])
            self._children[record.parent, side] = record.index

    def proof(self, progress: Progress | None) -> Proof:
        """The certificate: first the bound of every node, from the leaves up, then the nodes that the root's needs."""
        N = len(self._records)
        value: list[Fraction | None] = [None] * N  # None: nothing is proven
        for done, record in enumerate(reversed(self._records)):
            if progress is not None and done % 64 == 0:
                progress(done, N)
            value[record.index] = self._value(record, value)
        root = value[0]
        if root is None:
            raise InputError("certificate: nothing can be proven, H is singular to float64; add damping")
        weights = obs_update(self._problem, self._mask)
        # Lowered a little, so that the same block passes with an H whose sums were added up in another order.
        d = np.abs(weights - self._problem.w_bar)
        bound = below(root) - 2.0 * EPS * float(d @ np.sqrt(self._problem.curvature.diagonal())) ** 2
        return Proof(
            limits=self._limits,
            mask=self._mask,
            weights=weights,
            bound=bound,
            digest=claim_digest(self._problem, self._limits),
            tree=self._tree(Fraction(bound)),
        )

    def _value(self, record: NodeRecord, value: Sequence[Fraction | None]) -> Fraction | None:
        """The largest bound that is proven for the node, by its point or by its children."""
        children = [self._children.get((record.index, side)) for side in (KEPT, PRUNED)]
        known = [value[child] for child in children if child is not None]
        proven = [v for v in known if v is not None]
        split = min(proven) if len(proven) == 2 else None
        fixes = bool(self._screened(record).any())
        if split is not None and not fixes and (self._wanted is None or split >= self._wanted):
            return split
        point = self._points[record.index] = self._maker.point(record, self._wanted)
        if fixes and split is not None:
            fixed_bound = None if point is None else point.fixed_bound
            split = None if fixed_bound is None else min(split, fixed_bound)
        candidates = [bound for bound in (None if point is None else point.bound, split) if bound is not None]
        return max(candidates, default=None)

    def _screened(self, record: NodeRecord) -> Mask:
        return screened(record, settled(record.before, self._limits))

    def _tree(self, bound: Fraction) -> Tree:
        """The nodes that prove ``bound``, from the root down."""
        n = self._problem.n
        rows: list[tuple[int, int, int, int]] = []
        fixed: list[NDArray[np.int8]] = []
        points: list[Point] = []
        waiting = [(0, -1, 0)]  # record, parent in the tree, side
        while waiting:
            index, parent, side = waiting.pop()
            record, point = self._records[index], self._points.get(index)
            branch, row, fixes = -1, -1, np.zeros(n, dtype=np.int8)
            closed = point is not None and point.bound >= bound
            if not closed:
                branch = record.branch
                fixes = np.where(self._screened(record), record.after, FREE).astype(np.int8)
                waiting += [(self._children[index, child], len(rows), child) for child in (PRUNED, KEPT)]
            if closed or fixes.any():
                assert point is not None, "what the value rests on was kept"
                row = len(points)
                points.append(point)
            rows.append((parent, side, branch, row))
            fixed.append(fixes)
        table = np.array(rows, dtype=np.int64)
        return Tree(
            parent=table[:, 0].copy(),
            side=table[:, 1].astype(np.int8),
            branch=table[:, 2].copy(),
            point=table[:, 3].copy(),
            fixed=np.array(fixed, dtype=np.int8),
            D=np.array([point.D for point in points]).reshape(-1, n),
            w=np.array([point.w for point in points]).reshape(-1, n),
            w_low=np.array([point.low for point in points]).reshape(-1, n),
            pieces=_table(points),
        )


def _table(points: Sequence[Point]) -> PieceTable | None:
    """The pieces of all points; None where no point has any."""
    some = next((point.pieces for point in points if point.pieces is not None), None)
    if some is None:
        return None
    E = len(some.members)
    none = {"size": np.zeros(E), "share": np.ones(E), "hold": np.zeros(E)}

    def rows(name: str) -> NDArray[np.float32]:
        of = [none[name] if point.pieces is None else getattr(point.pieces, name)[0] for point in points]
        return np.array(of, dtype=np.float32)

    return PieceTable(some.members, some.direction, rows("size"), rows("share"), rows("hold"))
