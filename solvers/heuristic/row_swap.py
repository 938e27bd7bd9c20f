"""1-swap local search on the joint objective for all rows of a layer at once.

Within a row the exchange of a kept weight i for a pruned weight j changes the optimal value by the Δ_ij of ``swap``,
from B = (H_SS)⁻¹, T = B H_SP, the residual r and the Schur complements σ. Every round makes the best exchange of every
row, and B, T, r, σ and w follow by two rank-one updates: removing position a (column β = B_:a, b = B_aa) and entering
j (t = its column of T after the removal, s = its Schur complement, u = H_jP − H_jS T) turn

    B into B − ββᵀ/b + ttᵀ/s,      T into T − βT_a:/b − tuᵀ/s       (t_a = −1; the column of j becomes that of i, −β/b).

After ``EPOCH`` rounds all is computed afresh, and a row whose value did not fall in truth goes back to where it was.

Between rows the losses only add: where the pattern lets rows share a quota, the cheapest weights of some rows are
pruned and as many kept in other rows where that gains more, each row once a round. Rows are searched again after a
transfer, until neither exchange nor transfer helps.

Miller, Subset Selection in Regression, 2002, §3.9, for the exchange.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbs_opt.problem import PruningProblem
from cbs_opt.solvers.device import tensor
from cbs_opt.solvers.heuristic.admm import ITERATIONS, RHO, settle
from cbs_opt.solvers.heuristic.greedy_rows import greedy_mask
from cbs_opt.solvers.layer import Layer, inverse_on, to_mask
from cbs_opt.validate import EPS, Mask

if TYPE_CHECKING:
    import torch

EPOCH = 24
"""Exchanges of a row between two computations from scratch."""

CHEAPEST = 32
"""Kept weights of a row whose exchanges are tried first; all of them before the row is called done."""

LEAST_DECREASE = 1e-9
"""Decrease that counts, relative to the value of the row."""


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

    chunks = _chunks(layer, z, torch.arange(layer.rows, device=z.device))
    return torch.cat([State.at(layer, chunk, z[chunk]).value for chunk in chunks])


def _chunks(layer: Layer, z: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """``rows`` in parts that fit into memory."""
    widest = int(z[rows].sum(1).max())
    share = 4 * widest / layer.d + 0.1
    most = max(1, int(layer.together() / share))
    return tuple(rows[start : start + most] for start in range(0, len(rows), most))


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


@dataclass(eq=False)
class State:
    """Some rows, re-tuned, with all that exchanges need; positions that pad a row are not ``valid``.

    Parameters
    ----------
    U : tensor (d, d)
    kept, pruned : integer tensor (R, k), (R, E)
        The weight at each position.
    free_kept, free_pruned : boolean tensor (R, k), (R, E)
        Whether it may be exchanged (False on padding).
    valid : boolean tensor (R, k)
    labels_kept, labels_pruned : integer tensor (R, k), (R, E)
    B, T : tensor (R, k, k), (R, k, E)
    w, residual, schur : tensor (R, k), (R, E), (R, E)
    value : tensor (R,)
        ½(c − w)ᵀU(c − w).
    """

    U: torch.Tensor
    kept: torch.Tensor
    pruned: torch.Tensor
    valid: torch.Tensor
    free_kept: torch.Tensor
    free_pruned: torch.Tensor
    labels_kept: torch.Tensor
    labels_pruned: torch.Tensor
    B: torch.Tensor
    T: torch.Tensor
    w: torch.Tensor
    residual: torch.Tensor
    schur: torch.Tensor
    value: torch.Tensor

    @classmethod
    def at(cls, layer: Layer, rows: torch.Tensor, z: torch.Tensor) -> State:
        """Computed from scratch for the mask ``z`` (R, d) of ``rows`` (R,)."""
        import torch

        U, target, free, labels = layer.U, layer.target[rows], layer.free[rows], layer.labels[rows]
        k, E = int(z.sum(1).max()), int((~z).sum(1).max())
        order = (~z).long().argsort(dim=1, stable=True)
        kept, pruned = order[:, :k], order[:, layer.d - E :]
        valid, valid_pruned = z.gather(1, kept), ~z.gather(1, pruned)
        B, factor = inverse_on(U, kept, valid)
        difference = torch.where(z, 0.0, target)
        if k:
            rhs = (difference @ U).gather(1, kept) * valid
            change = -torch.cholesky_solve(rhs[:, :, None], factor)[:, :, 0]
            difference = difference.scatter_add(1, kept, change * valid)
        residual = difference @ U
        cross = U[kept[:, :, None], pruned[:, None, :]] * valid[:, :, None]
        T = B @ cross
        schur = torch.clamp(1.0 - (cross * T).sum(1), min=EPS)
        return cls(
            U=U,
            kept=kept,
            pruned=pruned,
            valid=valid,
            free_kept=free.gather(1, kept) & valid,
            free_pruned=free.gather(1, pruned) & valid_pruned,
            labels_kept=labels.gather(1, kept),
            labels_pruned=labels.gather(1, pruned),
            B=B,
            T=T,
            w=(target - difference).gather(1, kept) * valid,
            residual=residual.gather(1, pruned) * valid_pruned,
            schur=torch.where(valid_pruned, schur, 1.0),
            value=0.5 * (difference * residual).sum(1),
        )

    def only(self, chosen: torch.Tensor) -> State:
        """The state of the ``chosen`` rows."""
        parts = {name: value[chosen] for name, value in self.__dict__.items() if name != "U"}
        return State(U=self.U, **parts)

    def mask(self, d: int) -> torch.Tensor:
        """The mask, shape (R, d)."""
        import torch

        z = torch.zeros((len(self.kept), d), dtype=torch.bool, device=self.kept.device)
        row = torch.arange(len(z), device=z.device)[:, None].expand_as(self.kept)
        z[row[self.valid], self.kept[self.valid]] = True
        return z

    def cost(self) -> torch.Tensor:
        """What pruning each kept weight costs, shape (R, k); ∞ where that is not allowed."""
        import torch

        share = self.w * self.w / self.B.diagonal(dim1=1, dim2=2)
        return torch.where(self.free_kept, 0.5 * share, torch.inf)

    def gain(self) -> torch.Tensor:
        """What keeping each pruned weight gains, shape (R, E); −∞ where that is not allowed."""
        import torch

        return torch.where(self.free_pruned, 0.5 * self.residual**2 / self.schur, -torch.inf)

    def epoch(self, single: bool) -> torch.Tensor:
        """Up to ``EPOCH`` best exchanges of every row; which rows made one, shape (R,)."""
        import torch

        R, k = self.kept.shape
        made = torch.zeros(R, dtype=torch.bool, device=self.U.device)
        if not k or not self.pruned.shape[1]:
            return made
        least = LEAST_DECREASE * self.value
        for number in range(EPOCH):
            change, a, e = self.best(single, CHEAPEST)
            better = change < -least
            if not bool(better.any()):
                if number:
                    break  # the next computation from scratch looks at all of them
                change, a, e = self.best(single, k)
                better = change < -least
                if not bool(better.any()):
                    break
            self.swap(a, e, better)
            made |= better
        return made

    def best(self, single: bool, most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The best exchange of each row among its ``most`` cheapest kept weights: Δ, position kept, position pruned."""
        import torch

        cost = self.cost()
        most = min(most, cost.shape[1])
        cost, place = cost.topk(most, dim=1, largest=False)
        T = self.T.gather(1, place[:, :, None].expand(-1, -1, self.T.shape[2]))
        b = self.B.diagonal(dim1=1, dim2=2).gather(1, place)[:, :, None]
        share = self.w.gather(1, place)[:, :, None] / b
        after = torch.addcmul(self.residual[:, None, :], T, share).square_()
        schur = torch.addcmul(self.schur[:, None, :], T, T / b)
        gain = after.div_(schur)
        allowed = self.free_pruned[:, None, :]
        if not single:
            allowed = allowed & (self.labels_kept.gather(1, place)[:, :, None] == self.labels_pruned[:, None, :])
        gain.masked_fill_(~allowed, -torch.inf)
        best, e = gain.max(2)
        change, a = (cost - 0.5 * best).min(1)
        row = torch.arange(len(a), device=a.device)
        return change, place[row, a], e[row, a]

    def swap(self, a: torch.Tensor, e: torch.Tensor, chosen: torch.Tensor) -> None:
        """Exchange kept position ``a`` (R,) for pruned position ``e`` (R,) in the ``chosen`` rows (the others stay)."""
        import torch

        row = torch.arange(len(a), device=a.device)
        on = chosen[:, None].to(self.B.dtype)
        b = self.B[row, a, a][:, None]
        beta = self.B[row, :, a] / b
        weight = self.w[row, a][:, None]
        i, j = self.kept[row, a], self.pruned[row, e]
        # What the rows look like with position a pruned: the vectors; T itself follows at the end.
        T_a = self.T[row, a].clone()
        residual = self.residual + T_a * (weight / b)
        schur = self.schur + T_a * T_a / b
        w = self.w - beta * weight
        t = self.T[row, :, e] - beta * T_a[row, e][:, None]
        s, x = schur[row, e][:, None], (residual[row, e] / schur[row, e])[:, None]
        t[row, a] = -1.0
        w[row, a] = 0.0
        # i takes the place of j among the pruned.
        column = -beta
        column[row, a] = 0.0
        self.T[row, :, e] = torch.where(chosen[:, None], column, self.T[row, :, e])
        T_a[row, e] = 0.0
        residual[row, e], schur[row, e] = (weight / b)[:, 0], (1.0 / b)[:, 0]
        self.pruned[row, e] = torch.where(chosen, i, j)
        H_jS = self.U[j[:, None], self.kept] * self.valid
        H_jS[row, a] = 0.0
        u = self.U[j[:, None], self.pruned]
        u = u - (H_jS[:, None, :] @ self.T)[:, 0] + (H_jS * beta).sum(1, keepdim=True) * T_a
        self.kept[row, a] = torch.where(chosen, j, i)
        left = torch.stack([beta * on, t / s * on], dim=2)
        self.T.baddbmm_(left, torch.stack([T_a, u], dim=1), alpha=-1.0)
        self.B.baddbmm_(left, torch.stack([beta * b, -t], dim=1), alpha=-1.0)
        self.w = torch.where(chosen[:, None], w - t * x, self.w)
        self.residual = torch.where(chosen[:, None], residual - u * x, self.residual)
        entered = torch.clamp(schur - u * u / s, min=EPS)
        self.schur = torch.where(chosen[:, None], entered, self.schur)


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
