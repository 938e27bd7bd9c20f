"""The knapsack problem: the best items within a budget, and an upper bound on the worth of any items within it.

Take the items in descending order of worth per cost, v_j/c_j, and let λ be this ratio for the item that no longer fits
(Dantzig 1957). Then

    L = λ·room + Σ_j max(d_j, 0),     d_j = v_j − λ c_j,

is an upper bound on the worth of any selection, and L − |d_j| one on the worth of any that decides item j against the
sign of d_j (takes it where d_j < 0, leaves it where d_j > 0). An item for which the latter is below the worth of a
known selection is decided. The remaining items, the core, are few; they are solved by dynamic programming over the
costs where these are whole numbers and the table is small, and otherwise as a mixed-integer program. With several
budgets the multipliers are those of the linear program. Kellerer, Pferschy & Pisinger, Knapsack Problems, 2004, ch. 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cbs_opt.kernel.arrays.sums import sum_above
from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.kernel.patterns.program import Program, Relaxed
from cbs_opt.kernel.patterns.rows import Named, Rows

TABLE = 30_000_000
"""Most entries, items times possible costs, of the table of the dynamic program."""

FEW = 300
"""Where there are more items, this number of them is solved first, for a better selection and a smaller core."""

SUMMED = 64.0 * EPS
"""The relative error that NumPy's pairwise sums may have, with room to spare."""


@dataclass(frozen=True, eq=False)
class Knapsack:
    """Items with costs, of which the most valuable ones within the budgets are to be taken.

    Parameters
    ----------
    costs : array, shape (budgets, items)
        The cost ≥ 0 of each item in each budget.
    room : array, shape (budgets,)
        The largest total cost ≥ 0 for each budget.
    """

    costs: Matrix
    room: Vector

    @cached_property
    def able(self) -> Mask:
        """The items that fit into the budgets alone, shape (items,)."""
        return np.asarray((self.costs <= self.room[:, None]).all(axis=0))

    def best(self, worth: Vector) -> tuple[Mask, float]:
        """The best items as a mask of shape (items,), and an upper bound on the worth of any items within the budgets.

        Items without worth are taken, too, while they fit.

        Parameters
        ----------
        worth : array, shape (items,)
            The worth ≥ 0 of each item, at any scale.
        """
        worth = np.where(self.able, worth, 0.0)
        relaxed = self.relaxed(worth)
        chosen = self._filled(np.zeros(len(worth), dtype=np.bool_), worth)
        if len(worth) > FEW:
            # The items with the smallest |d_j| first: a better selection makes the core of all items small.
            near = np.zeros(len(worth), dtype=np.bool_)
            near[np.argpartition(np.abs(relaxed.d), FEW)[:FEW]] = True
            chosen, _ = self._improved(chosen, worth, relaxed, near)
        value = float(worth[chosen].sum())
        if value >= relaxed.value * (1.0 - SUMMED):
            return chosen, relaxed.value
        core = np.abs(relaxed.d) <= relaxed.value - value + 4.0 * SUMMED * relaxed.value
        chosen, most = self._improved(chosen, worth, relaxed, core)
        # Any selection that decides an item outside the core against d is worth less than the one known before.
        return chosen, min(max(most, sum_above(worth[chosen])), relaxed.value)

    def _improved(self, chosen: Mask, worth: Vector, relaxed: Relaxed, core: Mask) -> tuple[Mask, float]:
        """The better of ``chosen`` and the best items that outside ``core`` are as in ``relaxed``; a bound on these."""
        found = (relaxed.d > 0) & ~core & self.able
        taken = worth[found]
        left = self.room - self.costs[:, found].sum(axis=1)
        found[core], bound = self._best_of_core(worth[core], self.costs[:, core], left)
        most = sum_above(np.append(taken, bound))
        better = worth[found].sum() > worth[chosen].sum() and (self.costs[:, found].sum(axis=1) <= self.room).all()
        return (self._filled(found, worth) if better else chosen), most

    def relaxed(self, worth: Vector) -> Relaxed:
        """L and d of this module (of ``program`` with several budgets), and the relaxed selection x in [0, 1]."""
        worth = np.where(self.able, worth, 0.0)
        if len(self.room) > 1:
            return self._program.relaxed(worth)
        cost, room = self.costs[0], float(self.room[0])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            rate = np.where(worth > 0, worth / cost, 0.0)
        order = np.argsort(-rate, kind="stable")
        spent = np.cumsum(cost[order])
        full = int(np.searchsorted(spent, room, side="right"))
        x = np.zeros(len(worth))
        x[order[:full]] = 1.0
        multiplier = 0.0
        if full < len(order) and np.isfinite(rate[order[full]]):
            multiplier = float(rate[order[full]])
            x[order[full]] = 1.0 - (float(spent[full]) - room) / float(cost[order[full]])
        x = np.where(self.able, np.clip(x, 0.0, 1.0), 0.0)
        d = np.where(self.able, worth - multiplier * cost, 0.0)
        value = multiplier * room + float(np.maximum(d, 0.0).sum())
        slip = SUMMED * (multiplier * room + float(worth.sum()))
        return Relaxed(value + slip, d, x)

    def _filled(self, chosen: Mask, worth: Vector) -> Mask:
        """``chosen``, filled up with the items that still fit, in descending order of worth per cost."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            used = self.costs / np.where(self.room > 0, self.room, 1.0)[:, None]
            rate = np.where(worth > 0, worth / used.max(axis=0), 0.0)
        rest = np.flatnonzero(~chosen & self.able)
        rest = rest[np.lexsort((used.max(axis=0)[rest], -rate[rest]))]
        chosen, left = chosen.copy(), self.room - self.costs[:, chosen].sum(axis=1)
        while rest.size:
            spent = np.cumsum(self.costs[:, rest], axis=1)
            fits = int(np.argmin(np.append((spent <= left[:, None]).all(axis=0), False)))
            chosen[rest[:fits]] = True
            left = self.room - self.costs[:, chosen].sum(axis=1)
            rest = rest[fits + 1 :]
            rest = rest[(self.costs[:, rest] <= left[:, None]).all(axis=0)]
        return chosen

    def _best_of_core(self, worth: Vector, costs: Matrix, room: Vector) -> tuple[Mask, float]:
        if (room < 0).any():
            return np.zeros(len(worth), dtype=np.bool_), -np.inf
        if not worth.size:
            return np.zeros(0, dtype=np.bool_), 0.0
        if len(room) == 1:
            unit = _common_unit(costs[0])
            if unit > 0 and len(worth) * (room[0] // unit + 1.0) <= TABLE:
                return _by_table(worth, (costs[0] / unit).astype(np.int64), int(room[0] // unit))
        x, bound = Program(self.table(costs, room)).best(worth)
        return (np.zeros(len(worth), dtype=np.bool_) if x is None else x > 0.5), bound

    @cached_property
    def _program(self) -> Program:
        return Program(self.table(self.costs, self.room))

    @staticmethod
    def table(costs: Matrix, room: Vector) -> Rows:
        """The budgets as rows over one 0/1 variable for each item."""
        nothing = np.zeros(costs.shape[1], dtype=np.bool_)
        named = [Named("budgets", len(room), "what stays keeps within the budget")]
        return Rows.of(costs, room, keep=nothing, forbid=nothing, constraints=named)


def _common_unit(costs: Vector) -> float:
    """The largest whole number that divides all ``costs``; 0 where they are not whole, or all zero."""
    if (costs != np.round(costs)).any() or costs.max(initial=0.0) >= 2.0**53:
        return 0.0
    return float(np.gcd.reduce(costs.astype(np.int64))) if costs.size else 1.0


def _by_table(worth: Vector, costs: Vector, room: int) -> tuple[Mask, float]:
    """Dynamic programming (Bellman): best[c] is the largest worth of the items seen so far at a cost of at most c."""
    best = np.zeros(room + 1)
    takes = np.zeros((len(worth), room + 1), dtype=np.bool_)
    for j, (value, cost) in enumerate(zip(worth.tolist(), costs.tolist(), strict=True)):
        if cost <= room:
            trial = best[: room + 1 - cost] + value
            takes[j, cost:] = trial > best[cost:]
            best[cost:] = np.maximum(best[cost:], trial)
    chosen = np.zeros(len(worth), dtype=np.bool_)
    left = room
    for j in range(len(worth) - 1, -1, -1):
        if takes[j, left]:
            chosen[j] = True
            left -= int(costs[j])
    return chosen, float(best[room]) * (1.0 + SUMMED + len(worth) * EPS)
