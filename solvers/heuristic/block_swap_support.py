"""A re-tuned support of a problem with H = AᵀA + λI, and how it changes when some weights are exchanged.

S are the kept and P the pruned weights. With K = I + A_S A_Sᵀ/λ (m, m) and u = K⁻¹(A_P w̄_P + A_S g_S/λ), as in
``cbs_opt.kernel.update``, one vector holds all that a local search asks for:

    ω = w̄ + (Aᵀu − g)/λ.      On S it is the re-tuned weights; on P it is −1/λ times the gradient of f.

f − f(w̄) is ½‖u‖² + ½λ‖w_S − w̄_S‖² + ½λ‖w̄_P‖² + gᵀ(w − w̄). Where S changes, K is updated by the columns of A that
changed. All numbers are float64, in the units of ``DualTensors``. Each block of a block-diagonal H has a K of its own.
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
"""Entries of columns of A that are worked on at a time."""


@dataclass(frozen=True, eq=False)
class Support:
    """A mask with its re-tuned weights.

    Parameters
    ----------
    mask : boolean array, shape (n,)
        The mask, 1 keeps.
    omega : tensor, shape (n,)
        ω = w̄ + (Aᵀu − g)/λ: the re-tuned weights where kept, −1/λ times the gradient of f where pruned.
    rhs : tensor, shape (m,)
        A_P w̄_P + A_S g_S/λ.
    K : list of tensors, shape (m_b, m_b)
        I + A_S A_Sᵀ/λ of each block.
    factors : list of tensors, shape (m_b, m_b)
        Lower Cholesky factors of K.
    value : float
        f at the re-tuned weights, less f(w̄).
    """

    mask: Mask
    omega: torch.Tensor
    rhs: torch.Tensor
    K: list[torch.Tensor]
    factors: list[torch.Tensor]
    value: float


class Supports:
    """Makes the re-tuned supports of one problem on one device."""

    def __init__(self, problem: PruningProblem, device: str) -> None:
        self.data = DualTensors(problem, pieces_of(problem.curvature), device_named(device), single=False)

    def at(self, mask: Mask, near: Support | None = None) -> Support | None:
        """The support of ``mask``, updated from that of a mask ``near`` it if given; None where K has no factor."""
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
        """Scores of the weights, shape (n,): ½λω_i² of the kept ones, ½λω_i² times ``entering``² of the pruned ones."""
        import torch

        z = tensor(support.mask, self.data.device)
        reach = torch.where(z, support.omega, entering * support.omega)
        return np.asarray((0.5 * self.data.lam * reach**2).cpu().numpy())

    def joint_scores(self, support: Support, places: Sequence[Places], entering: float = 1.0) -> Vector:
        """What pruning each kept unit adds to f, and ``entering``² times what keeping each pruned one takes off; (n,).

        With a = A_uᵀK⁻¹A_u/λ for a unit u, pruning it adds ½ω_uᵀλ(I − a)⁻¹ω_u and keeping it takes ½ω_uᵀλ(I + a)⁻¹ω_u
        off. The value of a unit stands on its first weight in each block, and its other weights have 0.

        Parameters
        ----------
        support : Support
            The mask that is changed.
        places : sequence of integer arrays, shape (c, a)
            The weights of the units, as ``unit_scores.places_by_size`` returns them.
        entering : float
            Square root of the factor for pruned units.
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
        """By how much f changes, ≥ 0, when each of c units of one block is pruned or kept instead; shape (c,)."""
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
        # Where round-off leaves no positive answer, ½λω² is taken, as if a were zero.
        return np.asarray(torch.where((info == 0) & (value >= 0), value, 0.5 * (omega**2).sum((1, 2))).cpu().numpy())
