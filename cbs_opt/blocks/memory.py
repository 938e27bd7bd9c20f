"""Blocks that are kept in memory instead of files, for those that are solved at once and not needed again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.network.targets import Target


@dataclass(frozen=True, eq=False)
class CutBlock:
    """A block in memory, and where in the network its weights belong.

    Parameters
    ----------
    problem : PruningProblem
        The block, without a pattern. The rows of a layer share one curvature object.
    target : Target
        The layer.
    first : int
        The position of the block's first weight in the layer's matrix (out, in), counted row by row.
    damping : float
        The λ in its curvature.
    """

    problem: PruningProblem
    target: Target
    first: int
    damping: float


@dataclass(frozen=True, eq=False)
class BlocksInMemory:
    """A ``Sink`` that keeps blocks in a list."""

    blocks: list[CutBlock] = field(default_factory=list)

    @property
    def scratch(self) -> Path:
        """A folder for temporary files while blocks are made."""
        return Path(tempfile.gettempdir())

    def share(self, curvature: Curvature, target: Target, number: int) -> None:
        """Do nothing, since blocks in memory hold the curvature object that they share."""

    def add(
        self, problem: PruningProblem, target: Target, first: int, damping: float, curvature: str | None = None
    ) -> None:
        """Keep a block whose first weight is number ``first`` of the layer."""
        self.blocks.append(CutBlock(problem, target, first, damping))
