"""Local search on the joint objective for all rows of a layer at once, many exchanges at a time.

Within a row the exchange of a kept weight i for a pruned weight j changes the optimal value by the Δ_ij of
``swap_state``. The most promising weights of every row make a window, in which the best exchange is made again and
again (``row_swap_window``); the result is then carried over to the row, all exchanges at once (``row_swap_state``).
When a window has no exchange left, the best exchanges of the whole row make the next window. When the row has none left
either, everything is computed afresh, and a row whose value did not really fall goes back to the mask that it had
before. A row that fits into one window is thus searched exchange by exchange, the best first.

The losses of different rows add up. Where the pattern lets rows share a quota, the cheapest weights of some rows are
therefore pruned, and as many kept in other rows where that gains more (``row_transfer``). Rows are searched again after
such a transfer, until neither an exchange nor a transfer helps. Then no exchange of two weights improves the mask, to
the precision of the search, which on large layers is that of float32.

Miller, Subset Selection in Regression, 2002, §3.9, for the exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.device import tensor
from cbs_opt.kernel.operations import LayerSize, Operations
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.forms.layer_tensors import SINGLE_FROM, Layer, memory_of, to_mask
from cbs_opt.solvers.heuristic.admm import ITERATIONS, RHO, settle
from cbs_opt.solvers.heuristic.greedy_rows import greedy_mask
from cbs_opt.solvers.heuristic.row_swap_state import LEAST_DECREASE, State
from cbs_opt.solvers.heuristic.row_transfer import Offers, matched, offers_of

if TYPE_CHECKING:
    import torch

NARROW = 32
"""So many kept weights may always be added to a row by padding."""

CACHE_BYTES = 2**26
"""Bytes for the rows that are searched together on the CPU: what about fits its caches makes the search twice as
quick."""

LEAST_GAIN = {False: 1e-9, True: 1e-3}
"""The relative excess of the gain of a transfer over its cost that is asked for, in float64 (False) and float32
(True)."""


def improve_rows(problem: PruningProblem, start: Mask | None = None, device: str = "cpu") -> Mask:
    """A mask, shape (n,), that no exchange within a row and no transfer between rows improves.

    Parameters
    ----------
    start : boolean array, shape (n,), optional
        A mask in Z that keeps as many weights as Z allows. Left out, the search starts from the mask of ``admm``.
        Layers that are searched in float64 are also searched from the greedy OBS mask, and the better of the two
        results is taken: row by row where no quota reaches beyond a row, else as a whole.
    device : str
        Where the search runs: 'cpu' or 'cuda'.
    """
    import torch

    layer = Layer.of(problem, device)
    shape = (layer.rows, layer.d)
    if start is not None:
        return to_mask(search(layer, tensor(start.reshape(shape), layer.U.device))[0])
    second, of_second = search(layer, settle(layer, lambda v: layer.top(v * v), RHO, ITERATIONS)[0])
    if layer.in_single:
        return to_mask(second)
    first, of_first = search(layer, greedy_mask(layer))
    better = of_second < of_first
    if not layer.within_rows:
        better[:] = bool(of_second.sum() < of_first.sum())
    return to_mask(torch.where(better[:, None], second, first))


def operations_of_search(size: LayerSize) -> Operations:
    """Operations of ``improve_rows`` without a start, about: for B and T of each row, and for each weight."""
    from_scratch = size.rows * size.kept**2 * (2 * size.inputs - size.kept)
    if size.weights * size.inputs >= SINGLE_FROM:
        return Operations(single=11 * from_scratch + 500_000 * size.weights)
    return Operations(double=53 * from_scratch + 1_000_000 * size.weights)


def search(layer: Layer, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mask (rows, d) after exchanges and transfers from ``z`` until none helps, and the value of each row on it."""
    import torch

    z = z.clone()
    value = torch.zeros(layer.rows, dtype=layer.U.dtype, device=z.device)
    sides = () if layer.within_rows else (0,) if layer.single else (0, -1)
    offers = {side: Offers.none(layer.rows) for side in sides}

    def note(rows: torch.Tensor, state: State) -> None:
        value[rows] = state.value
        for side, known in offers.items():
            known.replace(rows.cpu().numpy(), offers_of(state, layer.labels[rows], side))

    best, least = (z, value), torch.inf
    pending = torch.arange(layer.rows, device=z.device)
    while len(pending):
        for chunk in _chunks(layer, z, pending):
            z[chunk] = _exchange(layer, chunk, z[chunk], note)
        total = float(value.sum())
        if not total < least:
            break
        best, least = (z.clone(), value.clone()), total
        pending = _transfer(layer, z, offers)
    return best


def _chunks(layer: Layer, z: torch.Tensor, rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """``rows`` in parts that fit into memory, each of rows with about equally many kept weights: little is padded."""
    counts = z[rows].sum(1)
    order = counts.argsort(stable=True)
    rows, widths = rows[order], counts[order].tolist()
    numbers, start = memory_of(z, CACHE_BYTES) / (4 if layer.in_single else 8), 0
    while start < len(rows):
        # The narrowest come first: a part ends where padding would double them, or where memory does.
        stop = start + 1
        while stop < len(rows) and widths[stop] <= 2 * widths[start] + NARROW:
            if (stop - start) * (4 * widths[stop] + 0.1 * layer.d) * layer.d >= numbers:
                break
            stop += 1
        yield rows[start:stop]
        start = stop


def _exchange(
    layer: Layer, rows: torch.Tensor, z: torch.Tensor, note: Callable[[torch.Tensor, State], None]
) -> torch.Tensor:
    """The mask of ``rows``, shape (len(rows), d), after exchanges within each row from ``z`` until none helps.

    Parameters
    ----------
    note : callable
        ``note(rows, state)`` is called with the rows that are done and their state.
    """
    import torch

    result, least = z.clone(), LEAST_DECREASE[layer.in_single]
    open_rows = torch.arange(len(rows), device=z.device)
    verified = torch.full((len(rows),), torch.inf, dtype=layer.U.dtype, device=z.device)
    back = torch.zeros(len(rows), dtype=torch.bool, device=z.device)
    trial = z
    while len(open_rows):
        state = State.at(layer, rows[open_rows], trial)
        fallen = state.value < (1.0 - least) * verified[open_rows]
        back[open_rows[~fallen]] = True
        if not bool(fallen.all()):
            open_rows, trial = open_rows[fallen], trial[fallen]
            if not len(open_rows):
                break
            state = state.only(fallen)
        result[open_rows], verified[open_rows] = trial, state.value
        made, ended = state.epoch(layer.single)
        if ended and layer.in_single:
            # The value of the state's own weights is attained on its mask, so that it is not below the optimal value
            # there.
            state.value = state.value_of(layer, rows[open_rows])
            fallen = ~made | (state.value < (1.0 - least) * verified[open_rows])
            back[open_rows[~fallen]] = True
            result[open_rows[fallen]] = state.mask(layer.d)[fallen]
            note(rows[open_rows[fallen]], state.only(fallen))
            break
        if not bool(made.all()):
            note(rows[open_rows[~made]], state.only(~made))
        open_rows, trial = open_rows[made], state.mask(layer.d)[made]
    if bool(back.any()):
        note(rows[back], State.at(layer, rows[back], result[back]))
    return result


def _transfer(layer: Layer, z: torch.Tensor, offers: dict[int, Offers]) -> torch.Tensor:
    """Move kept weights between rows, in ``z`` itself, where that lowers the sum of values; the rows that changed."""
    import numpy as np
    import torch

    allowed = np.ones(layer.rows, dtype=np.bool_)
    for known in offers.values():
        for giver, prune, taker, keep in matched(known, allowed, LEAST_GAIN[layer.in_single]):
            z[torch.from_numpy(giver), torch.from_numpy(prune)] = False
            z[torch.from_numpy(taker), torch.from_numpy(keep)] = True
            allowed[giver] = allowed[taker] = False
    return torch.from_numpy(np.flatnonzero(~allowed)).to(z.device)
