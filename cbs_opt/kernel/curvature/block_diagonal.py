"""H = diag(H₁, H₂, …) for rows or layers that do not interact; a block that occurs several times is stored once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.curvature.base import Curvature
from cbs_opt.kernel.curvature.damping import dominance


class BlockDiagonalCurvature(Curvature):
    """H = diag(H₁, H₂, …): each block is the curvature of consecutive weights, and the blocks do not interact.

    Parameters
    ----------
    blocks : sequence of Curvature
        H₁, H₂, … in the order of the weights. One object may occur several times, as the Gram matrix of a layer does
        for each of its output rows; it is then stored and factorized once.
    """

    kind = "block-diagonal"

    def __init__(self, blocks: Sequence[Curvature]) -> None:
        if not blocks:
            raise InputError("blocks: is empty; give at least one curvature")
        for i, block in enumerate(blocks):
            if not isinstance(block, Curvature):
                raise InputError(f"blocks: entry {i} is a {type(block).__name__}; a Curvature is needed")
        self._blocks = tuple(blocks)
        self._starts = np.concatenate(([0], np.cumsum([block.n for block in blocks])))

    @property
    def blocks(self) -> tuple[Curvature, ...]:
        """The curvatures on the diagonal, in order."""
        return self._blocks

    @property
    def slices(self) -> tuple[slice, ...]:
        """The indices of the weights of each block, as slices."""
        return tuple(slice(int(a), int(b)) for a, b in zip(self._starts[:-1], self._starts[1:], strict=True))

    @property
    def n(self) -> int:
        return int(self._starts[-1])

    @property
    def damping(self) -> float:
        """The largest damping of any block."""
        return max(block.damping for block in self._blocks)

    @property
    def mean_diagonal(self) -> float:
        return sum(block.n * block.mean_diagonal for block in self._blocks) / self.n

    @property
    def dominance(self) -> float:
        """The mean λ over ``mean_diagonal``."""
        mean = sum(block.n * block.damping for block in self._blocks) / self.n
        return dominance(mean, self.mean_diagonal)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(note for block in self._blocks for note in block.notes))

    def matvec(self, v: Vector) -> Vector:
        return np.concatenate([block.matvec(v[part]) for block, part in self._parts()])

    def quadratic(self, v: Vector) -> float:
        return float(sum(block.quadratic(v[part]) for block, part in self._parts()))

    def diagonal(self) -> Vector:
        return np.concatenate([block.diagonal() for block in self._blocks])

    def inverse_diagonal(self) -> Vector:
        computed = {id(block): block for block in self._blocks}
        inverse = {key: block.inverse_diagonal() for key, block in computed.items()}
        return np.concatenate([inverse[id(block)] for block in self._blocks])

    def solve(self, v: Vector) -> Vector:
        return np.concatenate([block.solve(v[part]) for block, part in self._parts()])

    def _form_dense(self) -> Matrix:
        H = np.zeros((self.n, self.n))
        for block, part in self._parts():
            H[part, part] = block.dense()
        return H

    def below(self) -> Curvature:
        lower = {id(block): block.below() for block in self._blocks}
        if all(lower[id(block)] is block for block in self._blocks):
            return self
        return BlockDiagonalCurvature([lower[id(block)] for block in self._blocks])

    def _parts(self) -> list[tuple[Curvature, slice]]:
        return list(zip(self._blocks, self.slices, strict=True))
