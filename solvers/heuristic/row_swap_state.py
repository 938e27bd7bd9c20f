"""Rows of one layer on their masks, with all that exchanges of a kept for a pruned weight need, and the exchanges.

With B = (H_SS)⁻¹, T = B H_SP, the residual r and the Schur complements σ of the pruned weights (see ``swap``), removing
position a (column β = B_:a, b = B_aa) and entering j (t = its column of T after the removal, s = its Schur complement,
u = H_jP − H_jS T) turn

    B into B − ββᵀ/b + ttᵀ/s,      T into T − βT_a:/b − tuᵀ/s       (t_a = −1; the column of j becomes that of i, −β/b).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbs_opt.kernel.arrays.types import EPS
from cbs_opt.solvers.forms.layer_tensors import Layer, inverse_on

if TYPE_CHECKING:
    import torch

EPOCH = 24
"""Exchanges of a row between two computations from scratch."""

CHEAPEST = 32
"""Kept weights of a row whose exchanges are tried first; all of them before the row is called done."""

LEAST_DECREASE = 1e-9
"""Decrease that counts, relative to the value of the row."""


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
