"""1-swap local search on the joint objective for all rows of a layer at once.

Within a row the exchange of a kept weight i for a pruned weight j changes the optimal value by the Δ_ij of ``swap``,
from B = (H_SS)⁻¹, T = B H_SP, the residual r and the Schur complements σ. Every round makes the best exchange of every
row, and all of these follow by two rank-one updates (``row_swap_state``). After ``EPOCH`` rounds all is computed
afresh, and a row whose value did not fall in truth goes back to where it was.

Between rows the losses only add: where the pattern lets rows share a quota, the cheapest weights of some rows are
pruned and as many kept in other rows where that gains more, each row once a round. Rows are searched again after a
transfer, until neither exchange nor transfer helps.

Miller, Subset Selection in Regression, 2002, §3.9, for the exchange.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.device import tensor
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.forms.layer_tensors import Layer, to_mask
from cbs_opt.solvers.heuristic.admm import ITERATIONS, RHO, settle
from cbs_opt.solvers.heuristic.greedy_rows import greedy_mask
from cbs_opt.solvers.heuristic.row_swap_state import LEAST_DECREASE, State

if TYPE_CHECKING:
    import torch

NARROW = 32
"""Kept weights of a row that padding may always add."""


def improve_rows(problem: PruningProblem, start: Mask | None = None, device: str = "cpu") -> Mask:
    """A mask, shape (n,), that no exchange within a row and no transfer between rows improves.

    Parameters
    ----------
    start : boolean array, shape (n,), optional
        A mask in Z that keeps as many weights as Z allows. Left out, the search starts from the greedy OBS mask and
        from that of ``admm``, and the better end is taken: row by row where the quotas are.
    """
    import torch

    layer = Layer.of(problem, device)
    shape = (layer.rows, layer.d)
    if start is not None:
        return to_mask(search(layer, tensor(start.reshape(shape), layer.U.device)))
    first = search(layer, greedy_mask(layer))
    second = search(layer, settle(layer, RHO, ITERATIONS)[0])
    better = _values(layer, second) < _values(layer, first)
    if not layer.within_rows:
        better[:] = bool(_values(layer, second).sum() < _values(layer, first).sum())
    return to_mask(torch.where(better[:, None], second, first))


def search(layer: Layer, z: torch.Tensor) -> torch.Tensor:
    """Exchanges and transfers from ``z`` (rows, d) until none helps."""
    import torch

    z = z.clone()
    pending = torch.arange(layer.rows, device=z.device)
    while len(pending):
        for chunk in _chunks(layer, z, pending):
            z[chunk] = _exchange(layer, chunk, z[chunk])
        pending = torch.zeros(0, dtype=torch.long) if layer.within_rows else _transfer(layer, z)
    return z


def _values(layer: Layer, z: torch.Tensor) -> torch.Tensor:
    """The optimal value of each row on the mask ``z``, shape (rows,)."""
    import torch

    values = torch.empty(layer.rows, dtype=layer.U.dtype, device=z.device)
    for chunk in _chunks(layer, z, torch.arange(layer.rows, device=z.device)):
        values[chunk] = State.at(layer, chunk, z[chunk]).value
    return values


def _chunks(layer: Layer, z: torch.Tensor, rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """``rows`` in parts that fit into memory, each of rows that keep about as many weights: they are padded alike."""
    counts = z[rows].sum(1)
    order = counts.argsort(stable=True)
    rows, widths = rows[order], counts[order].tolist()
    together, start = layer.together(), 0
    while start < len(rows):
        # The narrowest come first: a part ends where padding would double them, or where memory does.
        stop = start + 1
        while stop < len(rows) and widths[stop] <= 2 * widths[start] + NARROW:
            if stop - start >= together / (4 * widths[stop] / layer.d + 0.1):
                break
            stop += 1
        yield rows[start:stop]
        start = stop


# ---------------------------------------------------------------- within rows


def _exchange(layer: Layer, rows: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """The mask ``z`` of ``rows`` after exchanges within each row, until none helps; (len(rows), d)."""
    import torch

    result = z.clone()
    open_rows = torch.arange(len(rows), device=z.device)
    verified = torch.full((len(rows),), torch.inf, dtype=layer.U.dtype, device=z.device)
    trial = z
    while len(open_rows):
        state = State.at(layer, rows[open_rows], trial)
        fallen = state.value < (1.0 - LEAST_DECREASE) * verified[open_rows]
        result[open_rows[fallen]] = trial[fallen]
        verified[open_rows[fallen]] = state.value[fallen]
        if not bool(fallen.all()):
            open_rows, trial = open_rows[fallen], trial[fallen]
            if not len(open_rows):
                break
            state = state.only(fallen)
        made = state.epoch(layer.single)
        open_rows, trial = open_rows[made], state.mask(layer.d)[made]
    return result


# ---------------------------------------------------------------- between rows


@dataclass(frozen=True)
class Offer:
    """The cheapest kept weight of a row within one segment, and the pruned one that gains most; (±∞, −1) for none."""

    row: int
    segment: int
    cost: float
    prune: int
    gain: float
    keep: int


def _transfer(layer: Layer, z: torch.Tensor) -> torch.Tensor:
    """Move kept weights between rows, in place, while that lowers the sum; the rows that changed."""
    import torch

    offers: list[list[Offer]] = [[] for _ in range(layer.rows)]
    changed: set[int] = set()
    stale = torch.arange(layer.rows, device=z.device)
    while len(stale):
        for chunk in _chunks(layer, z, stale):
            for row, row_offers in zip(chunk.tolist(), _offers(layer, chunk, z[chunk]), strict=True):
                offers[row] = row_offers
        moves = _matched([offer for row_offers in offers for offer in row_offers])
        for giver, taker in moves:
            z[giver.row, giver.prune] = False
            z[taker.row, taker.keep] = True
        touched = sorted({offer.row for move in moves for offer in move})
        changed.update(touched)
        stale = torch.tensor(touched, dtype=torch.long, device=z.device)
    return torch.tensor(sorted(changed), dtype=torch.long, device=z.device)


def _offers(layer: Layer, rows: torch.Tensor, z: torch.Tensor) -> list[list[Offer]]:
    """The offers of each row; only the first and the last segment of a row can reach beyond it."""
    state = State.at(layer, rows, z)
    labels = layer.labels[rows]
    offers: list[list[Offer]] = [[] for _ in range(len(rows))]
    for side in (0, -1):
        segment = labels[:, side]
        cost, prune = _best_of(state.cost(), state.labels_kept == segment[:, None], state.kept, False)
        gain, keep = _best_of(state.gain(), state.labels_pruned == segment[:, None], state.pruned, True)
        numbers = zip(rows.tolist(), segment.tolist(), cost, prune, gain, keep, strict=True)
        for row_offers, entry in zip(offers, numbers, strict=True):
            offer = Offer(*entry)
            if offer not in row_offers:
                row_offers.append(offer)
    return offers


def _best_of(
    values: torch.Tensor, allowed: torch.Tensor, weights: torch.Tensor, largest: bool
) -> tuple[list[float], list[int]]:
    """The best allowed value of each row and the weight it belongs to, for (R, positions) tensors."""
    import torch

    none = -torch.inf if largest else torch.inf
    if not values.shape[1]:
        return [none] * len(values), [-1] * len(values)
    masked = torch.where(allowed, values, none)
    best, place = masked.max(1) if largest else masked.min(1)
    return best.tolist(), weights.gather(1, place[:, None])[:, 0].tolist()


def _matched(offers: list[Offer]) -> list[tuple[Offer, Offer]]:
    """Pairs (offer to prune, offer to keep) of one segment whose gain exceeds the cost; every row at most once."""
    moves: list[tuple[Offer, Offer]] = []
    used: set[int] = set()
    by_segment: dict[int, list[Offer]] = {}
    for offer in offers:
        by_segment.setdefault(offer.segment, []).append(offer)
    for members in by_segment.values():
        givers = sorted((offer for offer in members if offer.prune >= 0), key=lambda offer: offer.cost)
        takers = sorted((offer for offer in members if offer.keep >= 0), key=lambda offer: -offer.gain)
        for taker in takers:
            if taker.row in used:
                continue
            giver = next((offer for offer in givers if offer.row != taker.row and offer.row not in used), None)
            if giver is not None and taker.gain * (1.0 - LEAST_DECREASE) > giver.cost:
                used |= {giver.row, taker.row}
                moves.append((giver, taker))
    return moves
