"""Patterns in which the weights or groups that stay have costs, and the sum has to keep within one or more budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.sums import sum_above, total
from cbs_opt.kernel.arrays.types import Mask, Vector, frozen
from cbs_opt.kernel.patterns.base import RelaxedMask
from cbs_opt.kernel.patterns.grouped import Grouped, numbered
from cbs_opt.kernel.patterns.knapsack import SUMMED, Knapsack
from cbs_opt.kernel.patterns.rows import Named, limits


class Budget(Grouped):
    """The pattern in which the groups of weights that stay keep within one or more budgets.

        Z = {z : Σ cost_bg over the groups g with a kept weight ≤ budget_b for every budget b,
                 z_i = 1 on ``keep``, z_i = 0 on ``forbid``}

    Costs can be anything that adds up over the groups that stay: floating-point operations, bytes, or milliseconds from
    a table of measurements. Each weight is a group of its own unless groups are given.

    Parameters
    ----------
    costs : array, shape (groups,) or (budgets, groups)
        The cost ≥ 0 of each group, in the units of the budget, for one budget or for each of several.
    budget : float or array, shape (budgets,)
        The largest total cost ≥ 0 of the groups that stay, for each row of costs.
    groups : integer array, shape (n,), optional
        The group of each weight, 0 … groups − 1.
    keep, forbid : iterable of int, optional
        Weights that every mask keeps, at the cost of their groups, and weights that every mask prunes.

    Raises
    ------
    PatternError
        A cost or a budget is negative or not finite, their shapes do not agree, an index lies outside [0, n) or is in
        both lists, or the groups of the forced weights exceed a budget.
    """

    def __init__(self, costs: Any, budget: Any, *, groups: Any | None = None, keep: Any = (), forbid: Any = ()) -> None:
        self._costs = frozen(np.atleast_2d(_amounts(costs, "costs")))
        self._budget = frozen(np.atleast_1d(_amounts(budget, "budget")))
        count = self._costs.shape[1]
        if self._costs.ndim != 2 or self._budget.shape != self._costs.shape[:1]:
            raise PatternError(
                f"budget: has the shape {self._budget.shape} for costs of the shape {self._costs.shape}; give one "
                "budget for each row of costs"
            )
        units = np.arange(count) if groups is None else numbered(groups)
        if int(units.max(initial=-1)) + 1 != count or count == 0:
            raise PatternError(
                f"costs: there are {count} for {int(units.max(initial=-1)) + 1} groups; give one a group"
            )
        # The limits in the units of the costs; ``rows`` may state them in others.
        self._limit = frozen(limits(csr_array(self._costs), self._budget, np.ones(count, dtype=np.bool_)))
        super().__init__(units, keep, forbid)

    def _force(self, keep: Mask, forbid: Mask) -> None:
        super()._force(keep, forbid)
        self._items = frozen(np.flatnonzero(~self.forced))
        # Every selection that fits fits in here, too, whatever rounding does to the two sums; whole numbers are exact.
        whole = (self._costs == np.round(self._costs)).all(axis=1) & (self._costs.sum(axis=1) < 2.0**53)
        most = np.where(whole, self._limit, self._limit * (1.0 + SUMMED))
        forced = self._costs[:, self.forced]
        left = np.array([total([limit, *-spent], 0.0) for limit, spent in zip(most, forced, strict=True)])
        self._knapsack = Knapsack(self._costs[:, self._items], np.maximum(left, 0.0))
        self._last: tuple[bytes, tuple[Mask, float]] | None = None

    def _best(self, sums: Vector) -> tuple[Mask, float]:
        """The best choice among the groups that are not forced, and an upper bound on the value of any choice.

        The last answer is remembered.
        """
        worth = sums[self._items]
        key = worth.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, self._knapsack.best(worth)
        return self._last[1]

    @property
    def costs(self) -> Vector:
        """The cost of each group in each budget, shape (budgets, groups), read-only."""
        return self._costs

    @property
    def budget(self) -> Vector:
        """The largest total cost for each budget, shape (budgets,), read-only."""
        return self._budget

    def fits(self, groups: Mask) -> bool:
        return bool((self._spent(groups) <= self._limit).all())

    def _spent(self, groups: Mask) -> Vector:
        """What ``groups`` cost in each budget, correctly rounded, shape (budgets,)."""
        return np.array([total(costs[groups], np.inf) for costs in self._costs])

    def choose(self, sums: Vector) -> Mask:
        chosen = self.forced.copy()
        chosen[self._items] = self._best(sums)[0]
        for item in self._items[np.argsort(sums[self._items], kind="stable")]:
            if self.fits(chosen):
                break
            chosen[item] = False  # the room is larger than the budget by round-off
        return chosen

    def most_of(self, sums: Vector) -> float:
        return sum_above(np.append(sums[self.forced], self._best(sums)[1]))

    def flips_of(self, sums: Vector, chosen: Mask) -> Vector:
        relaxed, certain = self._knapsack.relaxed(sums[self._items]), float(sums[self.forced].sum())
        taken = chosen[self._items]
        least = np.where(taken, np.maximum(relaxed.d, 0.0), np.maximum(-relaxed.d, 0.0))
        values = np.full(self.groups, -np.inf)
        bound = np.minimum(self.most_of(sums), (relaxed.value + certain) * (1.0 + 1e-12) - least)
        values[self._items] = np.where(taken | self._knapsack.able, bound, -np.inf)
        return values

    def relaxed_of(self, sums: Vector) -> RelaxedMask:
        found, certain = self._knapsack.relaxed(sums[self._items]), sums[self.forced]
        most = sum_above(np.append(certain, found.value))
        z, kept, pruned = self.forced.astype(np.float64), np.full(self.groups, most), np.full(self.groups, -np.inf)
        z[self._items] = found.x
        kept[self._items] = np.where(self._knapsack.able, most - np.maximum(-found.d, 0.0) * (1.0 - 1e-12), -np.inf)
        pruned[self._items] = most - np.maximum(found.d, 0.0) * (1.0 - 1e-12)
        return RelaxedMask(z, most, kept, pruned)

    def relief_of(self, groups: Mask) -> Vector:
        over = self._spent(groups) - self._limit
        exceeded = over > 0
        parts = np.minimum(self._costs[exceeded] / over[exceeded, None], 1.0)
        return np.where(groups, parts.sum(axis=0), 0.0)

    def group_rows(self) -> tuple[Any, Any, Sequence[Named]]:
        named = [Named("budgets", len(self._budget), "what stays keeps within the budget")]
        return self._costs, self._budget, named

    def limits_in_words(self) -> str:
        totals = self._costs.sum(axis=1)
        said = [f"{budget:.12g} of {total:.12g}" for budget, total in zip(self._budget, totals, strict=True)]
        return "keep weights that cost at most " + " and ".join(said)

    def too_many_forced(self) -> str:
        spent = self._spent(self.forced)
        b = int(np.argmax(spent > self._limit))
        return (
            f"keep: what is forced to stay costs {spent[b]:.12g}, but the budget is {self._budget[b]:.12g}; force "
            "fewer or raise the budget"
        )


def _amounts(value: Any, field: str) -> Vector:
    """``value`` as an array of finite numbers ≥ 0."""
    try:
        amounts = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise PatternError(f"{field}: give numbers, 0 or more") from None
    wrong = ~(np.isfinite(amounts) & (amounts >= 0))
    if wrong.any():
        raise PatternError(f"{field}: holds {amounts[wrong].flat[0]}; finite numbers, 0 or more, are needed")
    return amounts
