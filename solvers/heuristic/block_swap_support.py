"""A support of a factored problem, re-tuned, and how it changes when some weights change sides.

With K = I + A_S A_Sᵀ/λ (m, m) and u = K⁻¹(A_P w̄_P + A_S g_S/λ) (as in ``cbs_opt.kernel.update``), one vector says all:

    ω = w̄ + (Aᵀu − g)/λ.      On S it is the re-tuned weights; on P it is −1/λ times the gradient of f.

f is ½‖u‖² + ½λ‖w_S − w̄_S‖² + ½λ‖w̄_P‖² + gᵀ(w − w̄). K follows S by the columns that changed. All in float64, in the
units of ``DualTensors``. Several blocks (a block-diagonal H) have a K each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.device import device_named, tensor
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.bounds.dual_blocks import pieces_of
from cbs_opt.solvers.bounds.dual_tensors import DualTensors
from cbs_opt.solvers.forms.unit_parts import Places

if TYPE_CHECKING:
    import torch


CHUNK = 2**22
"""Entries of columns of A that are looked at together."""


@dataclass(frozen=True, eq=False)
class Support:
    """A mask with its re-tuned weights.

    Parameters
    ----------
    mask : boolean array, shape (n,)
    omega : tensor, shape (n,)
        ω of the docstring above.
    rhs : tensor, shape (m,)
        A_P w̄_P + A_S g_S/λ.
    K : list of tensors, shape (m_b, m_b)
    factors : list of tensors, shape (m_b, m_b)
        Lower Cholesky factors of K.
    value : float
        f less f(w̄).
    """

    mask: Mask
    omega: torch.Tensor
    rhs: torch.Tensor
    K: list[torch.Tensor]
    factors: list[torch.Tensor]
    value: float


class Supports:
    """Makes supports of one problem on one device."""

    def __init__(self, problem: PruningProblem, device: str) -> None:
        self.data = DualTensors(problem, pieces_of(problem.curvature), device_named(device), single=False)

    def at(self, mask: Mask, near: Support | None = None) -> Support | None:
        """The support of ``mask``, from one ``near`` by where there is one; None where K is singular to float64."""
        import torch

        data = self.data
        z = tensor(mask, data.device)
        source = torch.where(z, data.g / data.lam, data.w_bar)
        if near is None:
            K, change = data.identity(), z.double() / data.lam
            rhs = data.image(source)
        else:
            before = tensor(near.mask, data.device)
            K, change = [matrix.clone() for matrix in near.K], (z.double() - before.double()) / data.lam
            moved = (z != before).nonzero()[:, 0]
            difference = (source - torch.where(before, data.g / data.lam, data.w_bar))[moved]
            rhs = near.rhs + data.segment_sums(difference, moved, torch.zeros_like(moved), 1)[:, 0]
        data.add_gram(K, change, change != 0)
        u = torch.zeros_like(rhs)
        factors = []
        for rows, K_b in zip(data.rows_of_blocks(), K, strict=True):
            factor, info = torch.linalg.cholesky_ex(K_b)
            if int(info) > 0:
                return None
            factors.append(factor)
            u[rows] = torch.cholesky_solve(rhs[rows, None], factor)[:, 0]
        step = (data.back(u) - data.g) / data.lam
        d = torch.where(z, step, -data.w_bar)
        value = 0.5 * float(u @ u) + 0.5 * float((data.lam * d) @ d) + float(data.g @ d)
        return Support(mask, data.w_bar + step, rhs, K, factors, value)

    def scores(self, support: Support, entering: float = 1.0) -> Vector:
        """½λω² on S, and what its square root times ``entering`` gives on P; shape (n,)."""
        import torch

        z = tensor(support.mask, self.data.device)
        reach = torch.where(z, support.omega, entering * support.omega)
        return np.asarray((0.5 * self.data.lam * reach**2).cpu().numpy())

    def joint_scores(self, support: Support, places: Sequence[Places], entering: float = 1.0) -> Vector:
        """What pruning each kept unit raises f by, and what each pruned one gains, times ``entering``²; shape (n,).

        With a = A_uᵀK⁻¹A_u/λ these are ½ω_uᵀλ(1 − a)⁻¹ω_u and ½ω_uᵀλ(1 + a)⁻¹ω_u. A unit's is on its first weight.

        Parameters
        ----------
        places : sequence of integer arrays, shape (c, a)
            As ``unit_scores.places_by_size`` has them.
        """
        values = self.scores(support, entering)
        for block, part in enumerate(self.data.weights_of_blocks()):
            for every in places:
                inside = every[(every[:, 0] >= part.start) & (every[:, 0] < part.stop)]
                step = max(1, CHUNK // (len(support.factors[block]) * every.shape[1]))
                for start in range(0, len(inside), step):
                    at = inside[start : start + step]
                    reach = np.where(support.mask[at[:, 0]], 1.0, entering**2)
                    values[at] = 0.0
                    values[at[:, 0]] = reach * self._changes(support, block, at)
        return values

    def _changes(self, support: Support, block: int, at: Places) -> Vector:
        """The changes of f by units of one block, shape (c,)."""
        import torch

        data = self.data
        index = tensor(at, data.device)
        root = data.lam[index].sqrt()
        half = torch.linalg.solve_triangular(
            support.factors[block], data.columns(index.flatten(), block), upper=False
        ).reshape(-1, *at.shape)
        a = torch.einsum("mcu,mcv->cuv", half / root, half / root)
        sign = torch.where(tensor(support.mask[at[:, 0]], data.device), -1.0, 1.0).double()
        changed = torch.eye(at.shape[1], dtype=a.dtype, device=a.device) + sign[:, None, None] * a
        omega = (root * support.omega[index])[:, :, None]
        solved, info = torch.linalg.solve_ex(changed, omega)
        value = 0.5 * (omega * solved).sum((1, 2))
        # Where K has lost λ, float64 cannot tell what is left: then as if the others did not make up for it.
        return np.asarray(torch.where((info == 0) & (value >= 0), value, 0.5 * (omega**2).sum((1, 2))).cpu().numpy())
