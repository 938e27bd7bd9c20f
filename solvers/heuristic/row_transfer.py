"""Kept weights moved between the rows of a layer: many at once, each row giving or taking.

Between rows the losses only add. Every row says what its cheapest weights cost, pruned one after the other and re-tuned
in between, and what its best pruned ones would gain, kept likewise; costs are made non-decreasing and gains
non-increasing, which is from the careful side. The price at which the gains of the layer no longer exceed its costs
tells which of the two a row does, and then the largest gains of the takers are paid for with the smallest costs of the
givers. Since a row does one of the two, in the order in which it was asked, the sum falls by at least what the pairs
say. Where the price leaves no pair, the best one of two rows is left.
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
"""Weights that a row may give or take at once."""

CANDIDATES = 2 * STEPS
"""Weights of a row that are looked at for it."""


@dataclass(frozen=True, eq=False)
class Offers:
    """What rows would give and take within one segment each.

    Parameters
    ----------
    segment : integer array, shape (R,)
    cost, gain : array, shape (R, STEPS)
        Of each further weight, ∞ (−∞) where there is none; costs do not fall and gains do not rise.
    prune, keep : integer array, shape (R, STEPS)
        The weights.
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
        """Put in what the ``rows`` offer now."""
        for ours, theirs in zip(self._arrays(), fresh._arrays(), strict=True):
            ours[rows] = theirs

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.segment, self.cost, self.gain, self.prune, self.keep


def offers_of(state: State, labels: torch.Tensor, side: int) -> Offers:
    """The offers of the rows of ``state``, of which ``labels`` (R, d) are the segments, in their first or last segment.

    Only the first (``side`` 0) and the last (−1) segment of a row can reach beyond it.
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
    """For each segment the rows that give with the weights they prune, and the rows that take with those they keep.

    Parameters
    ----------
    allowed : boolean array, shape (R,)
        Rows that may take part.
    least : float
        By which share of itself a gain must exceed the cost that pays for it.
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
    """The first offers, as places in (R, STEPS), of the two rows where a gain most exceeds a cost."""
    givers, takers = np.argsort(cost, kind="stable")[:2], np.argsort(-gain, kind="stable")[:2]
    excess = np.where(givers[:, None] == takers, -np.inf, gain[takers] - cost[givers, None])
    g, t = np.unravel_index(int(np.argmax(excess)), excess.shape)
    found = excess[g, t] > 0
    return STEPS * givers[g : g + found], STEPS * takers[t : t + found]


def _pairs(cost: Vector, gain: Vector) -> int:
    """How many of the rising costs are each below the falling gain of the same place."""
    return int(np.argmin(np.append(gain > cost, False)))
