"""Windows: a few kept and a few pruned weights of each row, and the exact change of its value for their exchanges.

With all other kept weights re-tuned, how the value of a row depends on which weights W of its window are kept is told
by the swept matrix

    M = [ −B_CC   T_CQ ]       C the kept and Q the pruned weights of W,   B = (H_SS)⁻¹,  T = B H_SP,
        [ T_CQᵀ   K_QQ ]       K = H_PP − H_PS B H_SP,

and the vector v of the re-tuned weights on C and the residual on Q. To prune a kept weight p or keep a pruned one is
one pivot on a = M_pp, which is negative for a kept weight, and changes the value by −v_p²/(2a):

    M_ij ← M_ij − M_ip M_pj/a,   M_ip ← M_ip/|a|,   M_pp ← −1/a,      v_i ← v_i − M_ip v_p/a,   v_p ← v_p/|a|

(Goodnight, A tutorial on the SWEEP operator, The American Statistician 33, 1979). An exchange takes O(m²) operations in
a window of 2m weights where it takes O(d²) in the row, and the result of the window is carried over to the row all at
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(eq=False)
class Window:
    """The windows of R rows: kept weights at the places 0 … m − 1, pruned ones at m … 2m − 1.

    Parameters
    ----------
    M : tensor (R, 2m, 2m)
        The swept matrix of each window.
    v : tensor (R, 2m)
        The re-tuned weights at the kept places, the residual at the pruned ones.
    free : boolean tensor (R, 2m)
        Weights that may be exchanged.
    labels : integer tensor (R, 2m)
        Only two weights of the same label are exchanged.
    """

    M: torch.Tensor
    v: torch.Tensor
    free: torch.Tensor
    labels: torch.Tensor

    def only(self, rows: torch.Tensor) -> Window:
        """A copy of the windows of some ``rows``."""
        return Window(self.M[rows], self.v[rows], self.free[rows], self.labels[rows])

    @property
    def m(self) -> int:
        """The number of places of kept weights, and of those of pruned ones."""
        return self.v.shape[1] // 2

    def exchanged(self, least: torch.Tensor, most: int) -> torch.Tensor:
        """Which weight stands at each place, (R, 2m), after the best exchange of each row is made until none helps.

        Parameters
        ----------
        least : tensor (R,)
            The least decrease of the value of each row that counts.
        most : int
            Exchanges in a row at the most.
        """
        import torch

        R, places = self.v.shape
        who = torch.arange(places, device=self.v.device).expand(R, -1).clone()
        rows = torch.arange(R, device=self.v.device)
        window = self.only(rows)
        for _ in range(most):
            change, i, j = window.best()
            better = change < -least[rows]
            if not bool(better.all()):
                if not bool(better.any()):
                    break
                rows, i, j, window = rows[better], i[better], j[better], window.only(better)
            window.exchange(i, j)
            who[rows, i], who[rows, j] = who[rows, j], who[rows, i]
        return who

    def best(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The best exchange of each row: the change of its value, and the two places, each (R,)."""
        import torch

        m, diagonal = self.m, self.M.diagonal(dim1=1, dim2=2)
        b, w = -diagonal[:, :m], self.v[:, :m]
        T = self.M[:, :m, m:]
        after = torch.addcmul(self.v[:, None, m:], T, (w / b)[:, :, None]).square_()
        gain = after.div_(torch.addcmul(diagonal[:, None, m:], T, T / b[:, :, None]))
        allowed = self.free[:, :m, None] & self.free[:, None, m:]
        allowed &= self.labels[:, :m, None] == self.labels[:, None, m:]
        change = torch.where(allowed, w.square().div(b)[:, :, None] - gain, torch.inf)
        best, place = change.flatten(1).min(1)
        return 0.5 * best, place // m, m + place % m

    def exchange(self, i: torch.Tensor, j: torch.Tensor) -> None:
        """Prune the weight at place ``i`` (R,) of each row and keep the one at ``j`` (R,); the two change places."""
        import torch

        row = torch.arange(len(i), device=i.device)
        first = self.M[row, i]
        a = first[row, i]
        share = first / a[:, None]
        second = self.M[row, j] - first * share[row, j][:, None]
        second[row, i] = first[row, j] / -a
        s = second[row, j]
        column_i = first / -a[:, None]
        column_i[row, i] = -1.0 / a
        column_j = second / s[:, None]
        column_i -= second * column_j[row, i][:, None]
        column_i[row, j] = column_j[row, i]
        left = torch.stack([share, column_j], dim=2)
        self.M.baddbmm_(left, torch.stack([first, second], dim=1), alpha=-1.0)
        column_j[row, j] = -1.0 / s
        out = self.v[row, i]
        v = self.v - share * out[:, None]
        v[row, i] = out / -a
        into = v[row, j] / s
        v -= second * into[:, None]
        v[row, j] = into
        for vector in (column_i, column_j, v):
            vector[row, i], vector[row, j] = vector[row, j], vector[row, i]
        for place, vector in ((i, column_j), (j, column_i)):
            self.M[row, place] = vector
            self.M[row, :, place] = vector
        self.v = v
        for weights in (self.free, self.labels):
            weights[row, i], weights[row, j] = weights[row, j], weights[row, i]

    def moved(self, keep: bool, most: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The best ``most`` weights of each row to keep (or to prune), one after the other, re-tuned in between.

        Returns
        -------
        change, place : tensor (R, most)
            By how much each step changes the value, ∞ where there is no further weight; and the place of its weight.
        """
        import torch

        m, sign = self.m, -1.0 if keep else 1.0
        half = slice(m, None) if keep else slice(0, m)
        M, v, free = self.M.clone(), self.v.clone(), self.free[:, half].clone()
        row = torch.arange(len(v), device=v.device)
        changes, places = [], []
        for _ in range(most):
            share = v[:, half].square() / M.diagonal(dim1=1, dim2=2)[:, half].abs()
            change, p = torch.where(free, sign * share, torch.inf).min(1)
            free[row, p] = False
            p = p + (m if keep else 0)
            changes.append(0.5 * change)
            places.append(p)
            column = M[row, p]
            a = column[row, p]
            v = v - column * (v[row, p] / a)[:, None]
            M.baddbmm_((column / a[:, None])[:, :, None], column[:, None, :], alpha=-1.0)
        return torch.stack(changes, 1), torch.stack(places, 1)
