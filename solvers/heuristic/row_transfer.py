"""Transfers between the rows of a layer: some rows prune a few weights, and others keep as many more.

The losses of different rows add up. Every row offers two sequences: what its cheapest kept weights cost, pruned one
after the other and re-tuned in between, and what its best pruned weights gain, kept likewise. Costs are raised to be
non-decreasing and gains lowered to be non-increasing. The price at which the gains of the whole layer no longer exceed
its costs tells whether a row gives or takes; then the largest gains of the takers are paid for with the smallest costs
of the givers. Since a row only gives or only takes, in the order of its sequence, the sum of losses falls by at least
the sum of gain less cost over the pairs. Where the price leaves no pair, the best pair of two rows is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.patterns.labelled import Counts
from cbs_opt.solvers.heuristic.row_swap_state import State

if TYPE_CHECKING:
    import torch

STEPS = 8
"""Weights that a row may give or take in one transfer."""

CANDIDATES = 2 * STEPS
"""Weights of a row among which those are chosen."""


@dataclass(frozen=True, eq=False)
class Offers:
    """What each row would give and take, within one segment of the pattern for each row.

    Parameters
    ----------
    segment : integer array, shape (R,)
        The segment of each row's offer.
    cost, gain : array, shape (R, STEPS)
        What pruning each further weight costs (∞ where there is none), never falling along a row; and what keeping each
        further weight gains (−∞ where there is none), never rising.
    prune, keep : integer array, shape (R, STEPS)
        The weights that are pruned and kept, by their places in the row.
    """

    segment: Counts
    cost: Matrix
    gain: Matrix
    prune: Counts
    keep: Counts

    @classmethod
    def none(cls, rows: int) -> Offers:
        """No offer of any row yet."""
        shape = (rows, STEPS)
        return cls(
            np.zeros(rows, dtype=np.int64),
            np.full(shape, np.inf),
            np.full(shape, -np.inf),
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=np.int64),
        )

    def replace(self, rows: Counts, fresh: Offers) -> None:
        """Replace the offers of ``rows`` by ``fresh`` ones."""
        for ours, theirs in zip(self._arrays(), fresh._arrays(), strict=True):
            ours[rows] = theirs

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.segment, self.cost, self.gain, self.prune, self.keep


def offers_of(state: State, labels: torch.Tensor, side: int) -> Offers:
    """The offers of the rows of ``state`` in their first (``side`` 0) or their last (−1) segment.

    Only these two segments of a row can reach beyond it. ``labels`` (R, d) are the segments of the weights.
    """
    import torch

    R = len(state.w)
    segment = labels[:, side]
    number = (segment - labels.amin(dim=1))[:, None]
    cost = torch.where(state.labels_kept == number, state.cost(), torch.inf)
    gain = torch.where(state.labels_pruned == number, state.gain(), -torch.inf)
    m = min(CANDIDATES, cost.shape[1], gain.shape[1])
    offers = Offers.none(R)
    if not m:
        return offers
    a, e = cost.topk(m, dim=1, largest=False).indices, gain.topk(m, dim=1).indices
    window = state.window(a, e)
    window.free &= torch.cat([cost.gather(1, a) < torch.inf, gain.gather(1, e) > -torch.inf], dim=1)
    steps = min(STEPS, m)
    costs, places = window.moved(keep=False, most=steps)
    offers.cost[:, :steps] = costs.double().cummax(1).values.cpu().numpy()
    offers.prune[:, :steps] = state.kept.gather(1, a.gather(1, places)).cpu().numpy()
    gains, places = window.moved(keep=True, most=steps)
    offers.gain[:, :steps] = (-gains.double()).cummin(1).values.cpu().numpy()
    offers.keep[:, :steps] = state.pruned.gather(1, e.gather(1, places - m)).cpu().numpy()
    offers.segment[:] = segment.cpu().numpy()
    return offers


def matched(offers: Offers, allowed: np.ndarray, least: float) -> Iterator[tuple[Counts, Counts, Counts, Counts]]:
    """For each segment: the rows that give, the weights they prune, the rows that take, and the weights they keep.

    Parameters
    ----------
    offers : Offers
        What every row would give and take.
    allowed : boolean array, shape (R,)
        Rows that may take part.
    least : float
        A gain has to exceed the cost that pays for it by this share of the gain.
    """
    for segment in np.unique(offers.segment[allowed]):
        rows = np.flatnonzero(allowed & (offers.segment == segment))
        cost, gain = offers.cost[rows], offers.gain[rows] * (1.0 - least)
        count = _pairs(np.sort(cost, axis=None), -np.sort(-gain, axis=None))
        if not count:
            continue
        price = 0.5 * (np.sort(cost, axis=None)[count - 1] - np.sort(-gain, axis=None)[count - 1])
        gives = np.maximum(price - cost, 0.0).sum(1) > np.maximum(gain - price, 0.0).sum(1)
        asked = np.where(gives[:, None], cost, np.inf)
        bid = np.where(gives[:, None], -np.inf, gain)
        given, taken = np.argsort(asked, axis=None, kind="stable"), np.argsort(-bid, axis=None, kind="stable")
        count = _pairs(asked.flat[given], bid.flat[taken])
        given, taken = given[:count], taken[:count]
        if not count:
            given, taken = _best_pair(cost[:, 0], gain[:, 0])
        giver, taker = rows[given // STEPS], rows[taken // STEPS]
        if len(giver):
            yield giver, offers.prune[giver, given % STEPS], taker, offers.keep[taker, taken % STEPS]


def _best_pair(cost: Vector, gain: Vector) -> tuple[Counts, Counts]:
    """The first offers, as flat places in (R, STEPS), of the two rows where a gain most exceeds a cost; else none."""
    givers, takers = np.argsort(cost, kind="stable")[:2], np.argsort(-gain, kind="stable")[:2]
    excess = np.where(givers[:, None] == takers, -np.inf, gain[takers] - cost[givers, None])
    g, t = np.unravel_index(int(np.argmax(excess)), excess.shape)
    found = excess[g, t] > 0
    return STEPS * givers[g : g + found], STEPS * takers[t : t + found]


def _pairs(cost: Vector, gain: Vector) -> int:
    """How many of the rising ``cost`` are below the falling ``gain`` at the same place, up to the first that is not."""
    return int(np.argmin(np.append(gain > cost, False)))
