"""A layer as tensors: its rows one below the other, in units where the shared curvature has a unit diagonal.

Every row-batched selector works on this: (rows, d) tensors in float64 on one device, the Gram matrix once. A curvature
that is not ``RowsCurvature`` is a layer of one row. Patterns of labels with room (a segment is the weights of one
label, all of them for a cardinality) have their oracle here as well, so that nothing travels between devices in a loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import UnsupportedError
from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.device import device_named, tensor
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.forms.unit_diagonal import unit_diagonal

if TYPE_CHECKING:
    import torch

CPU_BYTES = 2**31
"""Memory that a stack of (d, d) matrices, one a row, may take on the CPU; on a GPU it is 0.3 of what is free."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The tensors of a problem; weights are measured in units of 1/√H_ii.

    Parameters
    ----------
    U : tensor, shape (d, d)
        H₁ with unit diagonal.
    scale : array, shape (d,)
        √H_ii: what weights are multiplied by to be in the layer's units.
    target : tensor, shape (rows, d)
        The unconstrained minimizer H⁻¹b.
    keep, forbid : boolean tensor, shape (rows, d)
        Weights forced to stay, and forced to zero.
    labels : integer tensor, shape (rows, d)
        The segment of each weight.
    room : integer tensor, shape (segments,)
        The most weights each segment may keep, forced ones included.
    within_rows : bool
        No segment reaches beyond a row.
    """

    U: torch.Tensor
    scale: Vector
    target: torch.Tensor
    keep: torch.Tensor
    forbid: torch.Tensor
    labels: torch.Tensor
    room: torch.Tensor
    within_rows: bool

    @classmethod
    def of(cls, problem: PruningProblem, device: str = "cpu") -> Layer:
        """The layer of a problem whose pattern can be said in labels with room.

        Raises
        ------
        UnsupportedError
            Another pattern.
        """
        pattern = problem.Z.labelled
        if pattern is None:
            name = type(problem.Z).__name__
            raise UnsupportedError(f"layer: cannot take the pattern {name}; it takes Cardinality and Quotas")
        rows, H = shared_curvature(problem)
        U, scale = unit_diagonal(H)
        place = device_named(device)
        shape = (rows, len(H))

        def put(array: NDArray[Any]) -> torch.Tensor:
            return tensor(np.ascontiguousarray(array), place)

        labels = pattern.labels.reshape(shape)
        return cls(
            U=put(U),
            scale=scale,
            target=put(problem.minimizer().reshape(shape) * scale),
            keep=put(pattern.keep.reshape(shape)),
            forbid=put(pattern.forbid.reshape(shape)),
            labels=put(labels),
            room=put(pattern.room),
            within_rows=bool((labels[1:, 0] > labels[:-1, -1]).all()),
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.target.shape[0]

    @property
    def d(self) -> int:
        """Weights of one row."""
        return self.target.shape[1]

    @property
    def single(self) -> bool:
        """Whether all weights share one quota."""
        return len(self.room) == 1

    @property
    def free(self) -> torch.Tensor:
        """Weights neither forced nor forbidden, shape (rows, d)."""
        return ~(self.keep | self.forbid)

    def top(self, scores: torch.Tensor) -> torch.Tensor:
        """The mask (rows, d) with the largest Σ z_i s_i, for scores of any sign; ties keep the lower index."""
        return top_of_segments(scores, self.keep, self.forbid, self.labels, self.room)

    def together(self, matrices: int = 1) -> int:
        """How many rows can be worked on at a time when each needs that many (d, d) matrices."""
        return max(1, int(memory_of(self.U) // (8 * matrices * self.d**2)))


def shared_curvature(problem: PruningProblem) -> tuple[int, Matrix]:
    """The number of rows and the curvature (d, d) they share; one row for any curvature that is not of rows."""
    return problem.curvature.rows, problem.curvature.row.dense()


def top_of_segments(
    scores: torch.Tensor, keep: torch.Tensor, forbid: torch.Tensor, labels: torch.Tensor, room: torch.Tensor
) -> torch.Tensor:
    """The best ``room`` weights of every segment: the oracle of ``Labelled``, for tensors of one shape."""
    import torch

    infinity = torch.inf
    ranked = torch.where(keep, -infinity, torch.where(forbid, infinity, -scores)).flatten()
    segment = labels.flatten()
    order = torch.argsort(ranked, stable=True)
    order = order[torch.argsort(segment[order], stable=True)]
    sizes = torch.bincount(segment, minlength=len(room))
    first = sizes.cumsum(0) - sizes
    sorted_segment = segment[order]
    place = torch.arange(len(order), device=order.device) - first[sorted_segment]
    z = torch.zeros_like(ranked, dtype=torch.bool)
    z[order] = place < room[sorted_segment]
    return z.reshape(scores.shape) & ~forbid


def to_mask(z: torch.Tensor) -> Mask:
    """The mask (n,) of a problem from a boolean tensor (rows, d)."""
    return np.ascontiguousarray(z.flatten().cpu().numpy())


def memory_of(near: torch.Tensor) -> float:
    """Bytes that may be taken on the device of ``near``."""
    if near.is_cuda:
        import torch

        return 0.3 * torch.cuda.mem_get_info(near.device)[0]
    return CPU_BYTES


def inverse_on(U: torch.Tensor, idx: torch.Tensor, alive: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(U_SS)⁻¹ and the Cholesky factor of U_SS for each row's set S, the identity on entries that are not ``alive``.

    Parameters
    ----------
    idx : integer tensor, shape (rows, k)
    alive : boolean tensor, shape (rows, k)

    Returns
    -------
    two tensors, shape (rows, k, k)
    """
    import torch

    both = alive[:, :, None] & alive[:, None, :]
    M = U[idx[:, :, None], idx[:, None, :]] * both
    M.diagonal(dim1=1, dim2=2).copy_(torch.where(alive, U.diagonal()[idx], 1.0))
    factor = torch.linalg.cholesky(M)
    return torch.cholesky_inverse(factor), factor
