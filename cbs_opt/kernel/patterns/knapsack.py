"""The best items within a budget, exactly, and a bound on what any items within it are worth.

With λ the worth per cost of the item at which the budget is full when items are taken by worth per cost (Dantzig 1957),

    L = λ·room + Σ_j max(d_j, 0),     d_j = v_j − λ c_j,

bounds what items are worth, and L − |d_j| what they are worth with item j decided otherwise than d_j says. Items for
which that is less than a selection in hand are decided; what is left, the core, is small, and solved by dynamic
programming over the costs where they are whole and few, else as a mixed-integer program. With several budgets the
multipliers are those of the linear program.
Kellerer, Pferschy & Pisinger, Knapsack Problems, 2004, ch. 5.
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
"""Most entries, items times costs, of the table of the dynamic program."""

FEW = 300
"""Items that are solved first where the core is larger."""

SUMMED = 64.0 * EPS
"""What NumPy's sums, which are pairwise, may be wrong by, relative to what is added up."""


@dataclass(frozen=True, eq=False)
class Knapsack:
    """Items with costs, of which those are taken that fit the room and are worth most.

    Parameters
    ----------
    costs : array, shape (budgets, items)
        ≥ 0.
    room : array, shape (budgets,)
        ≥ 0.
    """

    costs: Matrix
    room: Vector

    @cached_property
    def able(self) -> Mask:
        """Items that fit alone, shape (items,)."""
        return np.asarray((self.costs <= self.room[:, None]).all(axis=0))

    def best(self, worth: Vector) -> tuple[Mask, float]:
        """The best items, shape (items,), filled up with worthless ones; and a bound on what any are worth.

        Parameters
        ----------
        worth : array, shape (items,)
            ≥ 0, at any scale.
        """
        worth = np.where(self.able, worth, 0.0)
        relaxed = self.relaxed(worth)
        chosen = self._filled(np.zeros(len(worth), dtype=np.bool_), worth)
        if len(worth) > FEW:
            # A few items next to the border first: what they gain makes the core of all small.
            near = np.zeros(len(worth), dtype=np.bool_)
            near[np.argpartition(np.abs(relaxed.d), FEW)[:FEW]] = True
            chosen, _ = self._improved(chosen, worth, relaxed, near)
        value = float(worth[chosen].sum())
        if value >= relaxed.value * (1.0 - SUMMED):
            return chosen, relaxed.value
        core = np.abs(relaxed.d) <= relaxed.value - value + 4.0 * SUMMED * relaxed.value
        chosen, most = self._improved(chosen, worth, relaxed, core)
        # What is outside the core was decided against nothing better than the selection in hand.
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
        """L and d of the docstring (or of ``program``), at multipliers that make L small, and the items in part."""
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
        """``chosen`` and, by worth per cost, whatever still fits."""
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
        """The budgets as rows over 0/1 variables, one an item."""
        nothing = np.zeros(costs.shape[1], dtype=np.bool_)
        named = [Named("budgets", len(room), "what stays keeps within the budget")]
        return Rows.of(costs, room, keep=nothing, forbid=nothing, constraints=named)


def _common_unit(costs: Vector) -> float:
    """The largest whole number that divides all ``costs``; 0 where they are not whole, or all zero."""
    if (costs != np.round(costs)).any() or costs.max(initial=0.0) >= 2.0**53:
        return 0.0
    return float(np.gcd.reduce(costs.astype(np.int64))) if costs.size else 1.0


def _by_table(worth: Vector, costs: Vector, room: int) -> tuple[Mask, float]:
    """Bellman's table: best[c] is the most that the items seen so far are worth at a cost of c or less."""
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
