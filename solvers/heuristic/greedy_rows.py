"""Greedy OBS of all rows of a layer at once: in each step every row prunes one weight, is re-tuned, and notes the loss.

The steps are those of ``greedy_obs``. For S the kept weights of a row, B = (H_SS)⁻¹ and w its re-tuned weights, pruning
p costs w_p²/(2B_pp), w ← w − B_:p w_p/B_pp and B ← B − B_:p B_p:/B_pp. All rows share H and differ in S only, so that a
step is a handful of operations on (rows, d) tensors. The rank-one downdates are collected and applied to B together, as
one matrix product for each row, and B shrinks with S.

The sequence in which a row prunes its weights, with the loss of each step, is its *trace*. Where the pattern lets rows
share a quota (a cardinality of the layer), every row is pruned to the end, and the traces say how many weights each row
prunes: the loss of a step is replaced by the slope of the convex minorant of the row's cumulative loss, and the
cheapest steps of all rows are taken. Where every segment of the pattern lies within a row, each row prunes until its
quotas are met. Frantar & Alistarh, Optimal Brain Compression, NeurIPS 2022 (ExactOBS and its global step).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Matrix
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.forms.layer_tensors import Layer, inverse_on, to_mask

if TYPE_CHECKING:
    import torch

SHRUNK = 1e-5
"""Share of its freshly computed value at which a diagonal entry of B has lost too many digits."""

DELAY = 32
"""How many downdates are collected before they are applied to B."""

COMPACT = 0.85
"""B is cut down to the kept weights when they are no more than this share of its order."""


def prune_rows(problem: PruningProblem, device: str = "cpu") -> Mask:
    """The greedy mask of a layer, shape (n,)."""
    return to_mask(greedy_mask(Layer.of(problem, device)))


def greedy_mask(layer: Layer) -> torch.Tensor:
    """The greedy mask, shape (rows, d)."""
    import torch

    step, loss = _traces(layer)
    if layer.within_rows:
        return (step < 0) & ~layer.forbid
    slopes = _convex(step, loss)
    # The place of each weight in the order in which all traces together prune; weights that no trace prunes come last.
    rank = np.empty(slopes.size)
    rows = np.repeat(np.arange(len(slopes)), slopes.shape[1])
    rank[np.lexsort((step.cpu().numpy().ravel(), rows, slopes.ravel()))] = np.arange(slopes.size)
    return layer.top(torch.from_numpy(rank.reshape(slopes.shape)).to(step.device))


def trace_slopes(problem: PruningProblem) -> Matrix:
    """What pruning each weight of a layer costs in its row's trace, made convex, shape (rows, d), in the units of f.

    The cost of a weight that is never pruned is inf; whole traces come only of a pattern that prunes everything it may.
    Pruning the k cheapest weights of a row costs the sum of their slopes, or a little more where k lies between two
    corners of the convex minorant.
    """
    return _convex(*_traces(Layer.of(problem)))


def _traces(layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    """The traces of all rows, as ``_trace`` returns them, computed for as many rows at a time as memory allows."""
    import torch

    together = layer.together(matrices=3)
    parts = [_trace(layer, slice(start, min(start + together, layer.rows))) for start in range(0, layer.rows, together)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _trace(layer: Layer, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """At which step each weight of the rows ``part`` is pruned (−1: never), and what that costs; (rows, d) each."""
    import torch

    U, target, free = layer.U, layer.target[part], layer.free[part]
    labels = layer.labels[part]
    rows, d = target.shape
    row = torch.arange(rows, device=U.device)
    step_of = torch.full((rows, d), -1, dtype=torch.long, device=U.device)
    loss_of = torch.zeros_like(target)
    alive = ~layer.forbid[part]
    # Without quotas of their own the rows are pruned to the end.
    left = torch.zeros_like(layer.room).index_add_(0, labels.flatten(), alive.flatten().long()) - layer.room
    state = _State.fresh(U, target, alive, None)
    number = 0
    while True:
        candidates = state.alive & free.gather(1, state.idx)
        if layer.within_rows:
            candidates &= (left > 0)[labels.gather(1, state.idx)]
        active = candidates.any(1)
        if not bool(active.any()):
            return step_of, loss_of
        score = torch.where(candidates, state.w * state.w / state.diagonal, torch.inf)
        p = score.argmin(1)
        chosen = state.idx[row, p]
        loss = 0.5 * state.prune(row, p, active)
        step_of[row, chosen] = torch.where(active, number, step_of[row, chosen])
        loss_of[row, chosen] = torch.where(active, loss, loss_of[row, chosen])
        left.index_add_(0, labels[row, chosen], -active.long())
        number += 1
        state = state.kept_up(U, target)


class _State:
    """The inverse (U_SS)⁻¹ and the re-tuned weights of every row, on the positions that were kept at the last cut.

    Attributes
    ----------
    idx : integer tensor (rows, k); alive : boolean tensor (rows, k)
        The weight at each position, and whether it is still kept.
    B : tensor (rows, k, k); C : tensor (rows, DELAY, k)
        The inverse is B − CᵀC over the first ``waiting`` rows of C, the downdates not yet applied to B.
    w, diagonal, first : tensor (rows, k)
        The re-tuned weights, the diagonal of the inverse, and that diagonal when it was last computed afresh.
    """

    def __init__(self, idx: torch.Tensor, alive: torch.Tensor, B: torch.Tensor, w: torch.Tensor) -> None:
        self.idx, self.alive, self.B, self.w = idx, alive, B, w
        self.diagonal = B.diagonal(dim1=1, dim2=2).clone()
        self.first = self.diagonal.clone()
        self.C = B.new_zeros((len(B), DELAY, B.shape[1]))
        self.waiting = 0
        self.computed_for = int(alive.sum(1).max()) if alive.numel() else 0

    @classmethod
    def fresh(cls, U: torch.Tensor, target: torch.Tensor, alive: torch.Tensor, idx: torch.Tensor | None) -> _State:
        """The state computed afresh, on kept weights only; ``alive`` has shape (rows, d), or that of ``idx``."""
        import torch

        rows, d = target.shape
        whole = torch.zeros((rows, d), dtype=torch.bool, device=U.device)
        whole = alive if idx is None else whole.scatter(1, idx, alive)
        k = int(whole.sum(1).max())
        kept = (~whole).long().argsort(dim=1, stable=True)[:, :k]
        valid = whole.gather(1, kept)
        if bool(whole.all()):
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(U))
            return cls(kept, valid, inverse.expand(rows, d, d).clone(), target.clone())
        return cls(kept, valid, *_inverse_and_weights(U, target, whole, kept, valid))

    def prune(self, row: torch.Tensor, p: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """Prune position ``p`` (rows,) of the ``active`` rows; returns w_p²/B_pp, shape (rows,)."""
        import torch

        t = self.waiting
        column = self.B[row, p]
        if t:
            share = self.C[row, :t, p]  # (rows, t)
            column = column - (share[:, None, :] @ self.C[:, :t, :])[:, 0, :]
        column = torch.where(self.alive, column, 0.0)
        pivot = column[row, p]
        usable = active & (pivot > 0)
        c = torch.where(usable, pivot, 1.0).rsqrt()[:, None] * column * active[:, None]
        amount = self.w[row, p] * torch.where(usable, pivot, 1.0).rsqrt() * active
        self.C[:, t, :] = c
        self.w -= c * amount[:, None]
        self.diagonal -= c * c
        gone = row[active], p[active]
        self.alive[gone] = False
        self.w[gone] = 0.0
        self.diagonal[gone] = self.first[gone]
        self.waiting += 1
        return amount * amount

    def kept_up(self, U: torch.Tensor, target: torch.Tensor) -> _State:
        """The same state after upkeep: waiting downdates applied, B cut down or computed afresh where that is due."""
        import torch

        left = int(self.alive.sum(1).max())
        k = self.idx.shape[1]
        if left and left <= self.computed_for // 2:
            return _State.fresh(U, target, self.alive, self.idx)
        worn = (self.diagonal < SHRUNK * self.first).any(1)
        if bool(worn.any()):
            self._apply()
            rows = torch.nonzero(worn)[:, 0]
            whole = torch.zeros_like(target, dtype=torch.bool).scatter(1, self.idx, self.alive)[rows]
            self.B[rows], self.w[rows] = _inverse_and_weights(U, target[rows], whole, self.idx[rows], self.alive[rows])
            self.diagonal[rows] = self.first[rows] = self.B[rows].diagonal(dim1=1, dim2=2)
        if self.waiting == DELAY:
            self._apply()
        if left <= COMPACT * k and self.waiting == 0:
            self._cut(left)
        return self

    def _apply(self) -> None:
        """Apply the waiting downdates to B."""
        C = self.C[:, : self.waiting]
        self.B.baddbmm_(C.transpose(1, 2), C, alpha=-1.0)
        self.waiting = 0

    def _cut(self, left: int) -> None:
        """Cut B down to ``left`` positions: those still kept in each row, and pruned ones where a row keeps fewer."""
        import torch

        place = (~self.alive).long().argsort(dim=1, stable=True)[:, :left]
        rows = torch.arange(len(place), device=place.device)[:, None, None]
        self.B = self.B[rows, place[:, :, None], place[:, None, :]]
        self.idx, self.alive = self.idx.gather(1, place), self.alive.gather(1, place)
        self.w, self.diagonal = self.w.gather(1, place), self.diagonal.gather(1, place)
        self.first = self.first.gather(1, place)
        self.C = self.B.new_zeros((len(place), DELAY, left))


def _inverse_and_weights(
    U: torch.Tensor, target: torch.Tensor, whole: torch.Tensor, idx: torch.Tensor, alive: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(U_SS)⁻¹ (rows, k, k) and the re-tuned weights (rows, k) on the positions ``idx`` that are ``alive``."""
    import torch

    B, factor = inverse_on(U, idx, alive)
    rhs = (torch.where(whole, 0.0, target) @ U).gather(1, idx) * alive
    w = target.gather(1, idx) * alive + torch.cholesky_solve(rhs[:, :, None], factor)[:, :, 0]
    return B, w


def _convex(step: torch.Tensor, loss: torch.Tensor) -> Matrix:
    """The slopes (rows, d) of the convex minorant of each row's cumulative loss; inf for weights never pruned."""
    from scipy.optimize import isotonic_regression

    steps, losses = step.cpu().numpy(), loss.cpu().numpy()
    slopes = np.full(losses.shape, np.inf)
    for slope, at, cost in zip(slopes, steps, losses, strict=True):
        pruned = np.flatnonzero(at >= 0)
        order = pruned[np.argsort(at[pruned])]
        if len(order):
            slope[order] = isotonic_regression(cost[order]).x
    return slopes
