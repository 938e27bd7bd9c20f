"""Blocks that stay in memory: where those go that are solved at once and then forgotten."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.network.targets import Target


@dataclass(frozen=True, eq=False)
class CutBlock:
    """A block in memory and where in the network its weights live.

    Parameters
    ----------
    problem : PruningProblem
        Without a pattern. Rows of a layer share one curvature object.
    target : Target
    first : int
        Position of its first weight in the layer's matrix (out, in), counted row by row.
    damping : float
        The λ in its curvature.
    """

    problem: PruningProblem
    target: Target
    first: int
    damping: float


@dataclass(frozen=True, eq=False)
class BlocksInMemory:
    """Takes blocks as ``BlockFolder`` does, and holds them as long as somebody holds it."""

    blocks: list[CutBlock] = field(default_factory=list)

    @property
    def scratch(self) -> Path:
        """Where a file may lie for as long as blocks are made."""
        return Path(tempfile.gettempdir())

    def share(self, curvature: Curvature, target: Target, number: int) -> None:
        """Nothing to do: the blocks hold the curvature that they share."""

    def add(
        self, problem: PruningProblem, target: Target, first: int, damping: float, curvature: str | None = None
    ) -> None:
        """Keep the block of the weights from ``first`` on."""
        self.blocks.append(CutBlock(problem, target, first, damping))
