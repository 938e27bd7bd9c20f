"""Rows of one layer on their masks, with all that exchanges of kept for pruned weights need.

A row is described by B = (H_SS)⁻¹, T = B H_SP, the residual r and the Schur complements σ of the pruned weights (see
``swap_state``). The best exchanges are looked for in a window of the row (``row_swap_window``). Its result, the kept
weights A exchanged for the pruned weights Q, is made in the row at once: with E = A ∪ Q, X the rows of E in the swept
matrix M of the whole row (defined in ``row_swap_window``), and Y = (M_EE)⁻¹X,

    M ← M − XᵀY off E,      M_E: ← DY,      M_EE ← −D(M_EE)⁻¹D,        D = −1 on A and 1 on Q.

Of M the parts B and T and the diagonal σ of K are stored. Numbers are float64, or float32 on a large layer: exchanges
are then chosen in float32, while whether the value of a row fell is still decided in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbs_opt.solvers.forms.layer_tensors import Layer
from cbs_opt.solvers.heuristic.row_swap_window import Window

if TYPE_CHECKING:
    import torch

LEAST_DECREASE = {False: 1e-9, True: 1e-6}
"""The least decrease that counts, relative to the value of the row, in float64 (False) and in float32 (True)."""

WINDOW = 24
"""Kept weights in the window of a row, and as many pruned ones; a row with up to twice as many of each is one
window."""

ROUNDS = 12
"""Windows of a row between two computations from scratch: so many of promising weights, then so many of best pairs."""

PAIRS = 2**23
"""Exchanges that are evaluated at a time."""


@dataclass(eq=False)
class State:
    """Some rows, re-tuned, with all that exchanges need. Positions that pad a row hold d, which is no weight's number.

    Parameters
    ----------
    U : tensor (d + 1, d + 1)
        The shared curvature, with zeros in the last row and column.
    kept, pruned : integer tensor (R, k), (R, E)
        The weight at each position.
    free_kept, free_pruned : boolean tensor (R, k), (R, E)
        Whether it may be exchanged (False on padding).
    labels_kept, labels_pruned : integer tensor (R, k), (R, E)
        The label of each weight, counted from 0 in each row.
    B, T : tensor (R, k, k), (R, k, E)
        (U_SS)⁻¹ and (U_SS)⁻¹U_SP.
    w, residual, schur : tensor (R, k), (R, E), (R, E)
        The re-tuned weights, the residual, and the Schur complements σ.
    value : tensor (R,)
        ½(c − w)ᵀU(c − w) in float64, as of the last computation from scratch.
    """

    U: torch.Tensor
    kept: torch.Tensor
    pruned: torch.Tensor
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
        """The state of ``rows`` (R,) on their masks ``z`` (R, d), computed from scratch."""
        import torch

        d, target = layer.d, layer.target[rows]
        numbers = torch.float32 if layer.in_single else torch.float64
        U = torch.nn.functional.pad(layer.U, (0, 1, 0, 1)).to(numbers)
        k, E = int(z.sum(1).max()), int((~z).sum(1).max())
        order = (~z).long().argsort(dim=1, stable=True)
        kept, pruned = order[:, :k], order[:, d - E :]
        kept = torch.where(z.gather(1, kept), kept, d)
        pruned = torch.where(z.gather(1, pruned), d, pruned)
        both = torch.cat([kept, pruned], dim=1)
        block = U.index_select(0, kept.flatten()).view(len(z), k, d + 1)
        block = block.gather(2, both[:, None, :].expand(-1, k, -1))
        H_SS, cross = block[:, :, :k].contiguous(), block[:, :, k:]
        H_SS.diagonal(dim1=1, dim2=2).add_((kept == d).to(numbers))
        factor = torch.linalg.cholesky(H_SS)
        difference = torch.where(z, 0.0, target)
        for _ in range(2 if layer.in_single else 1):
            rest = torch.nn.functional.pad(difference @ layer.U, (0, 1)).gather(1, kept).to(numbers)
            change = -torch.cholesky_solve(rest[:, :, None], factor)[:, :, 0]
            change = change.new_zeros(len(z), d + 1).scatter(1, kept, change)[:, :d]
            difference = difference + torch.where(z, change, 0.0)
        residual = difference @ layer.U
        B = torch.cholesky_inverse(factor)
        T = B @ cross
        diagonal = torch.where(pruned == d, 1.0, torch.nn.functional.pad(layer.U.diagonal(), (0, 1))[pruned])
        schur = diagonal.to(numbers) - (cross * T).sum(1)
        free = torch.nn.functional.pad(layer.free[rows], (0, 1))
        own = layer.labels[rows]
        labels = torch.nn.functional.pad(own - own.amin(dim=1, keepdim=True), (0, 1))

        def of(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(values, (0, 1)).gather(1, weights).to(numbers)

        return cls(
            U=U,
            kept=kept,
            pruned=pruned,
            free_kept=free.gather(1, kept),
            free_pruned=free.gather(1, pruned),
            labels_kept=labels.gather(1, kept),
            labels_pruned=labels.gather(1, pruned),
            B=B,
            T=T,
            w=of(target - difference, kept),
            residual=of(residual, pruned),
            schur=torch.clamp(schur, min=torch.finfo(numbers).eps),
            value=0.5 * (difference * residual).sum(1),
        )

    def only(self, chosen: torch.Tensor) -> State:
        """The state of the ``chosen`` rows."""
        parts = {name: value[chosen] for name, value in self.__dict__.items() if name != "U"}
        return State(U=self.U, **parts)

    def mask(self, d: int) -> torch.Tensor:
        """The masks of the rows, shape (R, d)."""
        import torch

        z = torch.zeros((len(self.kept), d + 1), dtype=torch.bool, device=self.kept.device)
        return z.scatter(1, self.kept, True)[:, :d]

    def cost(self) -> torch.Tensor:
        """What pruning each kept weight costs, shape (R, k); ∞ where that is not allowed."""
        import torch

        share = self.w * self.w / self.B.diagonal(dim1=1, dim2=2)
        return torch.where(self.free_kept, 0.5 * share, torch.inf)

    def gain(self) -> torch.Tensor:
        """What keeping each pruned weight gains, shape (R, E); −∞ where that is not allowed."""
        import torch

        return torch.where(self.free_pruned, 0.5 * self.residual**2 / self.schur, -torch.inf)

    # ---------------------------------------------------------------- exchanges

    def epoch(self, single: bool) -> tuple[torch.Tensor, bool]:
        """Make exchanges in every row, window after window; ``single``: all weights of a row carry one label.

        Returns
        -------
        made : boolean tensor (R,)
            Which rows made an exchange.
        ended : bool
            Whether no row has a further exchange.
        """
        import torch

        made = torch.zeros(len(self.w), dtype=torch.bool, device=self.w.device)
        if not self.kept.shape[1] or not self.pruned.shape[1]:
            return made, True
        least = LEAST_DECREASE[self.B.dtype == torch.float32] * self.value.to(self.B.dtype)
        for _ in range(ROUNDS):
            moves = self.through_window(*self.promising(), least)
            made |= moves > 0
            if int(moves.max()) <= WINDOW // 2:
                break
        further, ended = self._to_the_end(torch.ones_like(made), least, single, ROUNDS)
        return made | further, ended

    def _to_the_end(
        self, open_rows: torch.Tensor, least: torch.Tensor, single: bool, rounds: int
    ) -> tuple[torch.Tensor, bool]:
        """As ``epoch``, but with windows of the best pairs of a whole row, in the rows marked in ``open_rows`` (R,)."""
        import torch

        a, e, change = self.best(single)
        open_rows = open_rows & (change < -least)
        if not rounds or not bool(open_rows.any()):
            return torch.zeros_like(open_rows), not bool(open_rows.any())
        part = self.only(open_rows)
        moved = part.through_window(a[open_rows], e[open_rows], least[open_rows]) > 0
        further, ended = part._to_the_end(moved, least[open_rows], single, rounds - 1)
        for name, value in part.__dict__.items():
            if name != "U":
                getattr(self, name)[open_rows] = value
        made = open_rows.clone()
        made[open_rows] = moved | further
        return made, ended

    def value_of(self, layer: Layer, rows: torch.Tensor) -> torch.Tensor:
        """The value of the state's weights in float64, (R,), which is not below the optimal value on its mask."""
        w = layer.target.new_zeros(len(rows), layer.d + 1).scatter(1, self.kept, self.w.double())[:, : layer.d]
        difference = layer.target[rows] - w
        return 0.5 * (difference * (difference @ layer.U)).sum(1)

    def promising(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions of the kept weights that cost least, and of the pruned ones that gain most; (R, m) each.

        Where a row has several labels, a cost counts less the largest gain in its label, and a gain less the least
        cost.
        """
        import torch

        cost, gain = self.cost(), self.gain()
        m = min(*cost.shape[1:], *gain.shape[1:])
        m = m if max(cost.shape[1], gain.shape[1]) <= 2 * WINDOW else min(WINDOW, m)
        labels = int(max(self.labels_kept.max(), self.labels_pruned.max())) + 1
        if labels > 1:
            least = cost.new_full((len(cost), labels), torch.inf)
            least = least.scatter_reduce(1, self.labels_kept, cost, "amin")
            most = gain.new_full((len(gain), labels), -torch.inf)
            most = most.scatter_reduce(1, self.labels_pruned, gain, "amax")
            cost, gain = cost - most.gather(1, self.labels_kept), gain - least.gather(1, self.labels_pruned)
        return cost.topk(m, dim=1, largest=False).indices, gain.topk(m, dim=1).indices

    def best(self, single: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Positions of the kept and the pruned weights that have the best exchanges, (R, m) each; the least Δ, (R,)."""
        import torch

        kept, pruned = self.kept.shape[1], self.pruned.shape[1]
        by_kept, by_pruned = self.w.new_empty(self.kept.shape), self.w.new_empty(self.pruned.shape)
        together = max(1, PAIRS // (kept * pruned))
        for start in range(0, len(self.w), together):
            some = slice(start, start + together)
            b = self.B[some].diagonal(dim1=1, dim2=2)[:, :, None]
            change = _changes(self.T[some], b, self.w[some, :, None], self.residual[some, None], self.schur[some, None])
            change.masked_fill_(~self.free_kept[some, :, None], torch.inf)
            change.masked_fill_(~self.free_pruned[some, None, :], torch.inf)
            if not single:
                change.masked_fill_(self.labels_kept[some, :, None] != self.labels_pruned[some, None, :], torch.inf)
            by_kept[some], by_pruned[some] = change.amin(2), change.amin(1)
        m = min(WINDOW, kept, pruned)
        change, a = by_kept.topk(m, dim=1, largest=False)
        return a, by_pruned.topk(m, dim=1, largest=False).indices, change[:, 0]

    def window(self, a: torch.Tensor, e: torch.Tensor) -> Window:
        """The window of the kept positions ``a`` and the pruned positions ``e``, (R, m) each."""
        import torch

        M_a = torch.cat([-_rows(self.B, a), _rows(self.T, a)], dim=2)
        k, m = self.B.shape[1], a.shape[1]
        weights = self.pruned.gather(1, e)
        H_e = self.U.index_select(0, weights.flatten()).view(*weights.shape, -1)
        K = _columns(H_e, weights) - _columns(H_e, self.kept) @ _columns(self.T, e)
        K.diagonal(dim1=1, dim2=2).copy_(self.schur.gather(1, e))
        upper = _columns(M_a, torch.cat([a, k + e], dim=1))
        lower = torch.cat([upper[:, :, m:].transpose(1, 2), K], dim=2)
        return Window(
            M=torch.cat([upper, lower], dim=1),
            v=torch.cat([self.w.gather(1, a), self.residual.gather(1, e)], dim=1),
            free=torch.cat([self.free_kept.gather(1, a), self.free_pruned.gather(1, e)], dim=1),
            labels=torch.cat([self.labels_kept.gather(1, a), self.labels_pruned.gather(1, e)], dim=1),
        )

    def through_window(self, a: torch.Tensor, e: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
        """Search the window of ``a`` and ``e`` and make its exchanges in the rows; how many each row made, (R,)."""
        import torch

        window = self.window(a, e)
        m = window.m
        who = window.exchanged(least, m)
        out = torch.zeros_like(window.free).scatter(1, who[:, m:], True)
        leave, enter = out[:, :m], ~out[:, m:]
        moves = leave.sum(1)
        number = int(moves.max())
        if number:
            # Rows with fewer exchanges are filled up with weights that stay where they are.
            leaving = (~leave).long().argsort(dim=1, stable=True)[:, :number]
            entering = (~enter).long().argsort(dim=1, stable=True)[:, :number]
            self.exchange(window, a, e, leaving, entering, leave.gather(1, leaving))
        return moves

    def exchange(
        self,
        window: Window,
        a: torch.Tensor,
        e: torch.Tensor,
        leaving: torch.Tensor,
        entering: torch.Tensor,
        moved: torch.Tensor,
    ) -> None:
        """Exchange the kept weights A for the pruned weights Q in every row.

        Parameters
        ----------
        window : Window
            The window of the positions ``a`` and ``e``, (R, m) each, as it was before any exchange.
        leaving, entering : integer tensor (R, c)
            Which of the window's kept weights are A, and which of its pruned ones are Q.
        moved : boolean tensor (R, c)
            False where a pair only fills up the row and stays as it is.
        """
        import torch

        c, m = leaving.shape[1], window.m
        a, e = a.gather(1, leaving), e.gather(1, entering)
        pair, twice = torch.cat([leaving, m + entering], dim=1), torch.cat([moved, moved], dim=1)
        on = twice[:, :, None].to(self.B.dtype)
        M_EE = _columns(_rows(window.M, pair), pair) * on * on.transpose(1, 2)
        M_EE.diagonal(dim1=1, dim2=2).add_((~twice).to(self.B.dtype))
        weights = self.pruned.gather(1, e)
        H_e = self.U.index_select(0, weights.flatten()).view(*weights.shape, -1)
        K_e = _columns(H_e, self.pruned) - _columns(H_e, self.kept) @ self.T
        X_k = torch.cat([-_rows(self.B, a), _columns(self.T, e).transpose(1, 2)], dim=1) * on
        X_p = torch.cat([_rows(self.T, a), K_e], dim=1) * on
        v = window.v.gather(1, pair) * twice
        inverse = torch.linalg.inv(M_EE)
        Y_k, Y_p, y = inverse @ X_k, inverse @ X_p, inverse @ v[:, :, None]
        self.B.baddbmm_(X_k.transpose(1, 2), Y_k)
        self.T.baddbmm_(X_k.transpose(1, 2), Y_p, alpha=-1.0)
        self.schur -= (X_p * Y_p).sum(1)
        self.w -= (X_k * y).sum(1)
        self.residual -= (X_p * y).sum(1)
        # All entries off E are up to date. D is −1 on A, the first c of E, and 1 on Q, the last c, whose rows take the
        # places of those of A.
        among = -inverse
        among[:, :c, c:] *= -1.0
        among[:, c:, :c] *= -1.0
        rows_B = _put(-Y_k[:, c:], a, -among[:, c:, c:], moved)
        rows_T = _put(Y_p[:, c:], e, among[:, c:, :c], moved)
        columns_T = _put(-Y_k[:, :c], a, among[:, :c, c:], moved)
        here = moved[:, :, None]
        k = self.B.shape[1]
        for matrix, place, fresh in ((self.B, a, rows_B), (self.T, a, rows_T)):
            rows = torch.where(here, fresh, _rows(matrix, place))
            matrix.scatter_(1, place[:, :, None].expand(-1, -1, matrix.shape[2]), rows)
        for matrix, place, fresh in ((self.B, a, rows_B), (self.T, e, columns_T)):
            columns = torch.where(here, fresh, _columns(matrix, place).transpose(1, 2)).transpose(1, 2)
            matrix.scatter_(2, place[:, None, :].expand(-1, k, -1), columns)
        y = y[:, :, 0]
        for vector, place, fresh in (
            (self.w, a, y[:, c:]),
            (self.residual, e, -y[:, :c]),
            (self.schur, e, among.diagonal(dim1=1, dim2=2)[:, :c]),
        ):
            vector.scatter_(1, place, torch.where(moved, fresh, vector.gather(1, place)))
        self.schur.clamp_(min=torch.finfo(self.schur.dtype).eps)
        for ours, theirs in (
            (self.kept, self.pruned),
            (self.free_kept, self.free_pruned),
            (self.labels_kept, self.labels_pruned),
        ):
            old, new = ours.gather(1, a), theirs.gather(1, e)
            ours.scatter_(1, a, torch.where(moved, new, old))
            theirs.scatter_(1, e, torch.where(moved, old, new))


def _changes(
    T: torch.Tensor, b: torch.Tensor, w: torch.Tensor, residual: torch.Tensor, schur: torch.Tensor
) -> torch.Tensor:
    """Δ, shape (…, k, E), of kept weights with w and b = B_ii, (…, k, 1), for pruned ones with r and σ, (…, 1, E)."""
    import torch

    gain = torch.addcmul(residual, T, w / b).square_()
    gain.div_(torch.addcmul(schur, T, T / b))
    return torch.sub(w.square() / b, gain).mul_(0.5)


def _rows(matrix: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """The rows ``at`` (R, c) of each matrix (R, k, l); shape (R, c, l)."""
    return matrix.gather(1, at[:, :, None].expand(-1, -1, matrix.shape[2]))


def _columns(matrix: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """The columns ``at`` (R, c) of each matrix (R, k, l); shape (R, k, c)."""
    return matrix.gather(2, at[:, None, :].expand(-1, matrix.shape[1], -1))


def _put(rows: torch.Tensor, at: torch.Tensor, values: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """``rows`` (R, c, l) with ``values`` (R, c, c) put in the columns ``at`` (R, c), where ``moved`` is True."""
    import torch

    kept = torch.where(moved[:, None, :], values, _columns(rows, at))
    return rows.scatter(2, at[:, None, :].expand(-1, rows.shape[1], -1), kept)
