"""The data of the dual bound (D) as tensors, in units where weights and curvature are near one.

Weights are measured in units of max|w̄|, and H in units of its mean diagonal. Vectors are float64. The passes over A
are done in float64, or in float32, which halves the memory that is read and is enough to find an α (the bound is
evaluated elsewhere, in float64). A float64 A is copied to float32 if it is small enough; a larger one, and one that is
stored in another precision, is converted some columns at a time. For a block with more samples than weights, A = QR is
replaced by R and α = Qβ by β, which has one entry for each weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.device import tensor, times_own_transpose
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.bounds.dual_blocks import DualBlock

if TYPE_CHECKING:
    import torch

SMALL_ENTRIES = 2**21
"""Entries of all factors together below which passes in float64 are quick enough."""

MOST_COPIED = 2**30
"""Entries of a float64 factor up to which a float32 copy is made (4 GiB)."""

CHUNK_ENTRIES = {"cpu": 2**20, "cuda": 2**24}
"""Entries that are converted or gathered at a time: on the CPU so many as stay in its cache, on a GPU so many as keep
it busy."""

SINGLE_RANGE = (1e-24, 1e24)
"""The range of squares ‖A_i‖² that float32 can work with; zero is fine, too."""


def single_will_do(pieces: Sequence[DualBlock], device: torch.device) -> bool:
    """Whether float32 passes are worth trying first."""
    factors = [piece.factor for piece in pieces if piece.factor is not None]
    if sum(factor.stored.size for factor in factors) < SMALL_ENTRIES and device.type == "cpu":
        return False
    squares = np.concatenate([factor.column_squares for factor in factors]) if factors else np.zeros(0)
    positive = squares[squares > 0]
    return bool(positive.size and positive.min() > SINGLE_RANGE[0] and positive.max() < SINGLE_RANGE[1])


class DualTensors:
    """w̄, g and λ, all (n,) in float64, and products with A, on one device.

    Parameters
    ----------
    problem : PruningProblem
        Where w̄ and g come from.
    pieces : sequence of DualBlock
        The blocks AᵀA + diag(λ) of its curvature, as ``dual_blocks.pieces_of`` returns them.
    device : torch.device
        Where the tensors are.
    single : bool
        Whether the passes over A are done in float32.
    """

    def __init__(
        self, problem: PruningProblem, pieces: Sequence[DualBlock], device: torch.device, single: bool
    ) -> None:
        import torch

        self.device = device
        self.dtype = torch.float32 if single else torch.float64
        self._weight_unit = float(np.abs(problem.w_bar).max()) or 1.0
        diagonals = [p.damping + (0.0 if p.factor is None else p.factor.column_squares) for p in pieces]
        curvature_unit = float(np.concatenate(diagonals).mean())
        self._root = float(np.sqrt(curvature_unit))
        self._value_unit = curvature_unit * self._weight_unit**2
        self._offset = problem.offset
        self.w_bar = tensor(problem.w_bar, device) / self._weight_unit
        self.lam = tensor(np.concatenate([p.damping for p in pieces]), device) / curvature_unit
        g = problem.linear_term()
        self.g = tensor(g, device) / (curvature_unit * self._weight_unit)
        self.n = problem.n
        self._blocks: list[tuple[torch.Tensor, slice, slice]] = []
        self._bases: list[torch.Tensor | None] = []
        taken: dict[int, tuple[torch.Tensor, torch.Tensor | None]] = {}
        self.m = 0
        for piece in pieces:
            if piece.factor is not None:
                if id(piece.factor) not in taken:
                    taken[id(piece.factor)] = self._taken(piece.factor.stored)
                A, Q = taken[id(piece.factor)]
                self._blocks.append((A, piece.part, slice(self.m, self.m + len(A))))
                self._bases.append(Q)
                self.m += len(A)

    def _taken(self, stored: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The factor A and None, or R and Q of A = QR where A has more rows than columns."""
        import torch

        A = tensor(stored, self.device)
        if A.shape[0] > A.shape[1]:
            Q, R = torch.linalg.qr(A.double())
            return R.to(self.dtype), Q.to(self.dtype)
        narrowing = self.dtype == torch.float32 and A.dtype == torch.float64
        return (A.to(self.dtype) if narrowing and A.numel() <= MOST_COPIED else A), None

    def alpha_of_problem(self, alpha: torch.Tensor) -> Vector:
        """α in the units of the problem, on the CPU."""
        import torch

        parts = [
            alpha[rows] if Q is None else Q.double() @ alpha[rows]
            for (_, _, rows), Q in zip(self._blocks, self._bases, strict=True)
        ]
        whole = torch.cat(parts) if parts else alpha
        return np.asarray((whole * (self._root * self._weight_unit)).cpu().numpy())

    def alpha_from_problem(self, alpha: Vector) -> torch.Tensor:
        """α in the units of these tensors, from those of the problem; what lies outside A's column space is lost."""
        import torch

        whole = tensor(alpha, self.device) / (self._root * self._weight_unit)
        parts, start = [], 0
        for (A, _, _), Q in zip(self._blocks, self._bases, strict=True):
            stop = start + len(A if Q is None else Q)
            parts.append(whole[start:stop] if Q is None else Q.double().T @ whole[start:stop])
            start = stop
        return torch.cat(parts) if parts else whole

    def value_of_problem(self, value: float, offset: float | None = None) -> float:
        """A value of d in the units of the problem, plus f(w̄), or plus ``offset`` where one is given."""
        return value * self._value_unit + (self._offset if offset is None else offset)

    def image(self, v: torch.Tensor) -> torch.Tensor:
        """A v, shape (m,), for ``v`` of shape (n,)."""
        import torch

        out = torch.zeros(self.m, dtype=torch.float64, device=self.device)
        for A, part, rows in self._blocks:
            x = (v[part] / self._root).to(self.dtype)
            for columns, inside in self._columns(A):
                out[rows] += (columns @ x[inside]).double()
        return out

    def back(self, u: torch.Tensor) -> torch.Tensor:
        """Aᵀu, shape (n,), for ``u`` of shape (m,)."""
        import torch

        out = torch.zeros(self.n, dtype=torch.float64, device=self.device)
        for A, part, rows in self._blocks:
            x = (u[rows] / self._root).to(self.dtype)
            for columns, inside in self._columns(A):
                out[part][inside] = (columns.T @ x).double()
        return out

    def identity(self) -> list[torch.Tensor]:
        """The identity matrix (m_b, m_b) of each block, to begin K with."""
        import torch

        return [torch.eye(len(A), dtype=torch.float64, device=self.device) for A, _, _ in self._blocks]

    def add_gram(self, K: list[torch.Tensor], change: torch.Tensor, chosen: torch.Tensor) -> None:
        """Add A_b diag(change) A_bᵀ over the ``chosen`` weights (boolean) to the matrix K_b of each block, in place."""
        for positive in (True, False):
            wanted = chosen & ((change > 0) if positive else (change < 0))
            for (A, part, _), K_b in zip(self._blocks, K, strict=True):
                index = wanted[part].nonzero()[:, 0]
                root = (change[part][index].abs().sqrt() / self._root).to(self.dtype)
                step = max(1, CHUNK_ENTRIES[self.device.type] // len(A))
                for start in range(0, len(index), step):
                    some = slice(start, start + step)
                    gram = times_own_transpose(A[:, index[some]].to(self.dtype) * root[some]).double()
                    K_b += gram if positive else -gram

    def columns(self, chosen: torch.Tensor, block: int = 0) -> torch.Tensor:
        """The columns of A for the weights ``chosen``, all of one block, in float64; shape (m_b, len(chosen))."""
        A, part, _ = self._blocks[block]
        return A[:, chosen - part.start].double() / self._root

    def weights_of_blocks(self) -> list[slice]:
        """The weights of each block."""
        return [part for _, part, _ in self._blocks]

    def segment_sums(self, v: torch.Tensor, chosen: torch.Tensor, group: torch.Tensor, groups: int) -> torch.Tensor:
        """Σ v_i A_i over the weights of each group, shape (m, groups).

        ``chosen`` are the indices of the weights; ``v`` and ``group`` hold the factor and the group of each.
        """
        import torch

        out = torch.zeros((self.m, groups), dtype=torch.float64, device=self.device)
        for A, part, rows in self._blocks:
            inside = (chosen >= part.start) & (chosen < part.stop)
            index = chosen[inside] - part.start
            columns = A[:, index].to(self.dtype) * (v[inside] / self._root).to(self.dtype)
            out[rows].index_add_(1, group[inside], columns.double())
        return out

    def rows_of_blocks(self) -> list[slice]:
        """The entries of α that belong to each block."""
        return [rows for _, _, rows in self._blocks]

    def _columns(self, A: torch.Tensor) -> Iterator[tuple[torch.Tensor, slice]]:
        """A in the working precision: as a whole where it is stored in that, else some columns at a time."""
        n = A.shape[1]
        step = n if A.dtype == self.dtype else max(1, CHUNK_ENTRIES[self.device.type] // len(A))
        for start in range(0, n, step):
            part = slice(start, min(start + step, n))
            yield A[:, part].to(self.dtype), part
