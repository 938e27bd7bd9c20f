"""The linear oracle of rows, by HiGHS: max Σ s_i x_i over A x ≤ b, low ≤ x ≤ high, some x whole.

There are two upper bounds on the maximum. For any multipliers y ≥ 0, weak duality gives

    L(y) = bᵀy + Σ_j max over [low_j, high_j] of d_j x_j,     d = s − Aᵀy,                        (L)

to which a bound on its round-off is added; for a binary x_i, a point with x_i against the sign of d_i scores at most
L(y) − |d_i|. The other bound is that of HiGHS' search tree. Its linear programs may have multipliers with a wrong sign
of up to the tolerance δ, and each costs δ times the range of its column or row. The bound is therefore raised by

    2δ Σ_j (high_j − low_j) + 2δ Σ_r (|b_r| + Σ_j |A_rj|)                                       (margin)

for rows and scores scaled to order one, as HiGHS gets them. (L) is proven whatever HiGHS does; the second bound trusts
that HiGHS keeps its tolerances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from cbs_opt.errors import SolverError
from cbs_opt.kernel.arrays.types import EPS, Vector
from cbs_opt.kernel.patterns.rows import Rows, largest_entries

TOLERANCE = 1e-9
"""HiGHS' primal, dual and integrality tolerances."""

STRICTER = 1e-8
"""By how much the limits are lowered, in units of a row's largest entry, where a rounded point has exceeded them."""

SCALE = 1024.0
"""About the largest coefficient of the objective that HiGHS gets."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """(L) at the multipliers that HiGHS found: its value, d of shape (columns,), and HiGHS' point x in [low, high]."""

    value: float
    d: Vector
    x: Vector


class Program:
    """The mixed-integer programs over the same rows, for one objective after the other.

    Parameters
    ----------
    rows : Rows
        The constraints, bounds and whole variables.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        top = largest_entries(rows.A)
        largest = np.where(top > 0, 2.0 ** np.floor(np.log2(np.where(top > 0, top, 1.0))), 1.0)
        self._A = csr_array(rows.A.multiply(1.0 / largest[:, None]))
        self._limit = rows.limit / largest

    def best(self, scores: Vector) -> tuple[Vector | None, float]:
        """A point with the largest Σ s_i x_i, or None where the rows have no point, and an upper bound on the sum.

        Parameters
        ----------
        scores : array, shape (columns,)
            s ≥ 0, at any scale. Set the score of a column to zero where no point can have it: the objective is scaled
            by the largest score.

        Raises
        ------
        SolverError
            HiGHS ended neither with a best point nor with the answer that there is none.
        """
        unit = _unit(scores)
        x, bound = self._solve(scores * unit, self._limit, whole=True)
        if x is not None and not self.rows.hold(x):
            stricter, _ = self._solve(scores * unit, self._limit - STRICTER, whole=True)
            x = stricter if stricter is not None and self.rows.hold(stricter) else x
        if bound == -math.inf:
            return None, bound
        return x, math.nextafter((bound + self._margin()) / unit, math.inf)

    def possible(self, low: Vector, high: Vector) -> bool:
        """Whether the rows have a point with ``low`` ≤ x ≤ ``high``, bounds that replace those of all columns."""
        x, bound = self._solve(np.zeros(len(low)), self._limit, whole=True, low=low, high=high)
        return x is not None and bound > -math.inf

    def relaxed(self, scores: Vector) -> Relaxed:
        """(L) at the multipliers of HiGHS' linear program; it is an upper bound even where these are poor."""
        unit = _unit(scores)
        scaled = scores * unit
        highs = self._passed(scaled, self._limit, False, self.rows.low, self.rows.high)
        solution = highs.getSolution()
        duals, x = np.asarray(solution.row_dual, dtype=np.float64), np.asarray(solution.col_value, dtype=np.float64)
        x = np.clip(x if len(x) == len(scores) else self.rows.low, self.rows.low, self.rows.high)
        y = np.zeros(len(self._limit)) if len(duals) != len(self._limit) else np.maximum(-duals, 0.0)
        d = scaled - self._A.T @ y
        with np.errstate(invalid="ignore"):
            ends = np.where(d > 0, d * self.rows.high, np.where(d < 0, d * self.rows.low, 0.0))
        # A bound on the rounding errors of the products of A and y, and of the sums.
        size = np.abs(scaled) + abs(self._A).T @ y
        wide = np.maximum(np.abs(self.rows.low), np.abs(self.rows.high))
        free = np.isinf(wide)
        terms = len(y) + len(d) + 4
        slip = terms * EPS * (float(np.abs(self._limit) @ y) + float((size * np.where(free, 0.0, wide)).sum()))
        value = float(self._limit @ y) + float(ends.sum()) + slip
        if free.any() and (np.abs(d[free]) > 0).any():
            value = math.inf
        return Relaxed(value / unit, np.asarray(d / unit), x)

    def _margin(self) -> float:
        """(margin) in the units of the objective that HiGHS gets."""
        ranges = self.rows.high - self.rows.low
        sizes = np.abs(self._limit) + abs(self._A).sum(axis=1)
        return 2.0 * TOLERANCE * (float(ranges[np.isfinite(ranges)].sum()) + float(sizes.sum()))

    def _solve(
        self, scores: Vector, limit: Vector, whole: bool, low: Vector | None = None, high: Vector | None = None
    ) -> tuple[Vector | None, float]:
        """HiGHS' best point, whole variables rounded, and HiGHS' upper bound; (None, −inf) where there is no point."""
        import highspy

        low = self.rows.low if low is None else low
        high = self.rows.high if high is None else high
        highs = self._passed(scores, limit, whole, low, high)
        status = highs.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            return None, -math.inf
        if status != highspy.HighsModelStatus.kOptimal:
            said = highs.modelStatusToString(status)
            raise SolverError(f"pattern: HiGHS ended with '{said}' when asked for the best mask; simplify the rows")
        x = np.asarray(highs.getSolution().col_value, dtype=np.float64)
        x = np.clip(np.where(self.rows.whole, np.round(x), x), low, high)
        info = highs.getInfo()
        bound = info.mip_dual_bound if self.rows.whole.any() else info.objective_function_value
        return x, max(-float(bound), float(scores @ x))

    def _passed(self, scores: Vector, limit: Vector, whole: bool, low: Vector, high: Vector) -> Any:
        """The HiGHS object after it has minimized −sᵀx."""
        import highspy

        m, columns = self._A.shape
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = columns, m
        lp.col_cost_ = -scores
        lp.col_lower_, lp.col_upper_ = low, high
        lp.row_lower_, lp.row_upper_ = np.full(m, -highspy.kHighsInf), limit
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = self._A.indptr.astype(np.int32)
        lp.a_matrix_.index_ = self._A.indices.astype(np.int32)
        lp.a_matrix_.value_ = self._A.data
        if whole:
            kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
            lp.integrality_ = [kinds[int(is_whole)] for is_whole in self.rows.whole]
        highs: Any = highspy.Highs.__base__()  # without the callbacks, for which HiGHS prints its name
        for name, value in OPTIONS.items():
            highs.setOptionValue(name, value)
        highs.passModel(lp)
        highs.run()
        return highs


OPTIONS = {
    "output_flag": False,
    "threads": 1,
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 0.0,
    "mip_feasibility_tolerance": TOLERANCE,
    "primal_feasibility_tolerance": TOLERANCE,
    "dual_feasibility_tolerance": TOLERANCE,
}


def _unit(scores: Vector) -> float:
    """The power of two by which the largest score becomes about ``SCALE``; 1 where all are zero."""
    largest = float(np.abs(scores).max(initial=0.0))
    return 1.0 if largest == 0.0 else SCALE * 2.0 ** -math.floor(math.log2(largest))
