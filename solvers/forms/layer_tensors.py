"""A layer as tensors: its rows one below the other, in units where the shared curvature has a unit diagonal.

All methods that work on many rows at once use this form: (rows, d) tensors in float64 on one device, and one curvature
for all rows. A curvature that is not ``RowsCurvature`` is a layer of one row. Patterns of labels with room have their
oracle in ``segments``, so that loops move nothing between devices. A segment is the set of weights of one label; a
cardinality has one segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import UnsupportedError
from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.device import device_named, tensor
from cbs_opt.kernel.operations import LayerSize, Operations
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.forms.segments import Segments
from cbs_opt.solvers.forms.unit_diagonal import unit_diagonal

if TYPE_CHECKING:
    import torch

CPU_BYTES = 2**31
"""Bytes that a stack of (d, d) matrices, one for each row, may take on the CPU; on a GPU it is 0.3 of what is free."""

SINGLE_FROM = 10**8
"""Loops over a layer work in float32 from this rows·d² on; smaller layers take only a moment in float64."""

SINGLE_MARGIN = 1e-5
"""For float32 the eigenvalues of U must be above about this, which leaves two digits in the worst direction."""


@dataclass(frozen=True, eq=False)
class Shared:
    """The curvature that rows share, and their weights in units of 1/√H_ii, whatever the pattern.

    Parameters
    ----------
    U : tensor, shape (d, d)
        The shared curvature, scaled to unit diagonal.
    scale : array, shape (d,)
        √H_ii, by which weights are multiplied to be in the layer's units.
    target : tensor, shape (rows, d)
        The unconstrained minimizer H⁻¹b.
    """

    U: torch.Tensor
    scale: Vector
    target: torch.Tensor

    @classmethod
    def of_any(cls, problem: PruningProblem, device: str = "cpu") -> Shared:
        """The form of a problem with any pattern, on ``device``."""
        rows, H = shared_curvature(problem)
        U, scale = unit_diagonal(H)
        target = problem.minimizer().reshape(rows, len(H)) * scale
        place = device_named(device)
        return Shared(tensor(np.ascontiguousarray(U), place), scale, tensor(np.ascontiguousarray(target), place))

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.target.shape[0]

    @property
    def d(self) -> int:
        """Weights of one row."""
        return self.target.shape[1]

    @cached_property
    def in_single(self) -> bool:
        """Whether long loops work in float32: on large layers, unless U is too near to singular for it."""
        import torch

        if self.rows * self.d**2 < SINGLE_FROM:
            return False
        U = self.U.float()
        U.diagonal().sub_(SINGLE_MARGIN)
        return int(torch.linalg.cholesky_ex(U)[1]) == 0

    def together(self, matrices: int = 1) -> int:
        """How many rows can be worked on at a time where each needs so many (d, d) ``matrices``."""
        return max(1, int(memory_of(self.U) // (8 * matrices * self.d**2)))


@dataclass(frozen=True, eq=False)
class Layer(Shared):
    """The tensors of a problem whose weights carry labels with room.

    Parameters
    ----------
    keep, forbid : boolean tensor, shape (rows, d)
        Weights forced to stay, and forced to zero.
    labels : integer tensor, shape (rows, d)
        The segment of each weight.
    room : integer tensor, shape (segments,)
        The most weights each segment may keep, forced ones included.
    within_rows : bool
        Whether no segment reaches beyond a row, and the labels of each row are larger than those of the row before.
    """

    keep: torch.Tensor
    forbid: torch.Tensor
    labels: torch.Tensor
    room: torch.Tensor
    within_rows: bool

    @classmethod
    def of(cls, problem: PruningProblem, device: str = "cpu") -> Layer:
        """The layer of a problem whose pattern is one of labels with room.

        Raises
        ------
        UnsupportedError
            The problem has another pattern.
        """
        pattern = problem.Z.labelled
        if pattern is None:
            name = type(problem.Z).__name__
            raise UnsupportedError(f"layer: cannot take the pattern {name}; it takes those whose weights carry labels")
        shared = Shared.of_any(problem, device)
        shape, place = tuple(shared.target.shape), shared.target.device

        def put(array: NDArray[Any]) -> torch.Tensor:
            return tensor(np.ascontiguousarray(array), place)

        labels = pattern.labels.reshape(shape)
        return cls(
            U=shared.U,
            scale=shared.scale,
            target=shared.target,
            keep=put(pattern.keep.reshape(shape)),
            forbid=put(pattern.forbid.reshape(shape)),
            labels=put(labels),
            room=put(pattern.room),
            within_rows=bool((labels[1:].min(axis=1) > labels[:-1].max(axis=1)).all()),
        )

    @property
    def single(self) -> bool:
        """Whether all weights carry one label."""
        return len(self.room) == 1

    @property
    def free(self) -> torch.Tensor:
        """Weights neither forced nor forbidden, shape (rows, d)."""
        return ~(self.keep | self.forbid)

    def top(self, scores: torch.Tensor) -> torch.Tensor:
        """The mask (rows, d) with the largest Σ z_i s_i, for scores of any sign; ties keep the lower index."""
        return self.segments.top(scores)

    @cached_property
    def segments(self) -> Segments:
        """The pattern's oracle."""
        return Segments.of(self.keep, self.forbid, self.labels, self.room)


def in_loops(size: LayerSize, operations: float) -> Operations:
    """``operations`` of a loop over a layer of this size, counted in float32 or float64, whichever it works in."""
    single = size.weights * size.inputs >= SINGLE_FROM
    return Operations(single=operations) if single else Operations(double=operations)


def shared_curvature(problem: PruningProblem) -> tuple[int, Matrix]:
    """The number of rows and the curvature (d, d) that they share; a curvature that is not of rows has one row."""
    return problem.curvature.rows, problem.curvature.row.dense()


def to_mask(z: torch.Tensor) -> Mask:
    """The mask (n,) of a problem from a boolean tensor (rows, d)."""
    return np.ascontiguousarray(z.flatten().cpu().numpy())


def memory_of(near: torch.Tensor, on_cpu: float = CPU_BYTES) -> float:
    """Bytes that may be used on the device of the tensor ``near``; ``on_cpu`` if that is the CPU."""
    if near.is_cuda:
        import torch

        return 0.3 * torch.cuda.mem_get_info(near.device)[0]
    return on_cpu


def inverse_on(U: torch.Tensor, idx: torch.Tensor, alive: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(U_SS)⁻¹ and the Cholesky factor of U_SS for the set S of each row, with the identity at padding.

    Parameters
    ----------
    idx : integer tensor, shape (rows, k)
        The weights of S, and others as padding.
    alive : boolean tensor, shape (rows, k)
        Which entries of ``idx`` are in S.

    Returns
    -------
    inverse, factor : tensors, shape (rows, k, k)
    """
    import torch

    both = alive[:, :, None] & alive[:, None, :]
    M = U[idx[:, :, None], idx[:, None, :]] * both
    M.diagonal(dim1=1, dim2=2).copy_(torch.where(alive, U.diagonal()[idx], 1.0))
    factor = torch.linalg.cholesky(M)
    return torch.cholesky_inverse(factor), factor
