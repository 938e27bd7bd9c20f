"""The certified gap of a whole network from its blocks.

In the block-diagonal model the loss of a network is the sum of the losses of its blocks, and each block has its own
number of weights to prune. So the sum of the answers is what the network's answer costs, and the sum of the
bounds is a bound on what any other answer with these numbers costs:

    gap = (Σ objective − Σ bound) / |Σ objective|.

Both sums have to run over *all* blocks. A sum over some of them says nothing of the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cbs_opt.kernel.arrays.sums import total
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.sums import total_bound


@dataclass(frozen=True)
class Aggregate:
    """Sums over the blocks that have both, and what is missing.

    Parameters
    ----------
    blocks : int
        Blocks of the network.
    without_answer, without_bound, without_unit, broken : int
        Blocks with no answer; with an answer but no bound; that have both, but no unit; whose bound lies above
        their objective. Each block is counted once at most.
    objective, bound : float
        Sums over the other blocks; NaN where there are none.
    """

    blocks: int
    without_answer: int
    without_bound: int
    without_unit: int
    broken: int
    objective: float
    bound: float

    @property
    def complete(self) -> bool:
        """Whether the sums are those of the network."""
        return self.blocks > 0 and self.missing == 0

    @property
    def missing(self) -> int:
        """Blocks that are in neither sum."""
        return self.without_answer + self.without_bound + self.without_unit + self.broken

    @property
    def gap(self) -> float:
        """The certified gap; NaN unless every block has an answer and a bound."""
        return self.partial_gap if self.complete else math.nan

    @property
    def partial_gap(self) -> float:
        """The gap of the sums over the blocks that have both; of the network only where ``complete``."""
        if self.missing >= self.blocks:
            return math.nan
        if self.objective <= self.bound:
            return 0.0
        return (self.objective - self.bound) / abs(self.objective) if self.objective else math.inf


def aggregate(objective: Vector, bound: Vector, broken: Mask, unit: Vector | float = 1.0) -> Aggregate:
    """Add up answers and bounds over the blocks of a network; all of shape (blocks,).

    Parameters
    ----------
    objective, bound : arrays
        NaN without an answer; −inf without a bound.
    broken : array of bool
        Where the bound lies above the objective.
    unit : array or float
        What objective and bound of a block are divided by before they are added (blocks in different units). NaN
        or ≤ 0 is no unit.
    """
    units = np.broadcast_to(np.asarray(unit, dtype=float), objective.shape)
    answered = ~np.isnan(objective)
    sound = answered & ~broken
    bounded = sound & np.isfinite(bound)
    with np.errstate(invalid="ignore", over="ignore"):
        used = bounded & (units > 0)
        objectives = objective[used] / units[used]
    return Aggregate(
        blocks=len(objective),
        without_answer=int((~answered).sum()),
        without_bound=int((sound & ~bounded).sum()),
        without_unit=int((bounded & ~used).sum()),
        broken=int((answered & broken).sum()),
        objective=total(objectives.tolist(), beyond=math.inf) if used.any() else math.nan,
        bound=total_bound(bound[used].tolist(), units[used].tolist()) if used.any() else math.nan,
    )
