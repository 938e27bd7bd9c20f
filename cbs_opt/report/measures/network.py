"""The certified gap of a whole network from its blocks.

In the block-diagonal model the loss of a network is the sum of the losses of its blocks, and each block has its own
number of weights to prune. So the sum of the objectives is the loss of the pruned network, and the sum of the bounds
is a lower bound on the loss of any other one with these numbers of zeros:

    gap = (Σ objective − Σ bound) / |Σ objective|.

Both sums have to run over *all* blocks. A sum over some of them says nothing about the network.
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
    """Sums over the blocks that have an answer and a bound, and the number of blocks that are missing in them.

    Parameters
    ----------
    blocks : int
        How many blocks the network has.
    without_answer, without_bound, without_unit, broken : int
        How many blocks have no answer; an answer but no bound; both, but no unit; a bound that lies above their
        objective. Each block is counted at most once.
    objective, bound : float
        The sums over all other blocks; NaN if there are none.
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
        """How many blocks are in neither sum."""
        return self.without_answer + self.without_bound + self.without_unit + self.broken

    @property
    def gap(self) -> float:
        """The certified gap; NaN unless every block has an answer and a bound."""
        return self.partial_gap if self.complete else math.nan

    @property
    def partial_gap(self) -> float:
        """The gap of the sums over the blocks that have both; it is the network's only if ``complete``."""
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
        The blocks' objectives, NaN without an answer, and bounds, −inf without a bound.
    broken : array of bool
        Whether the bound lies above the objective.
    unit : array or float
        What objective and bound of a block are divided by before they are added, if blocks are in different units. NaN
        or a number ≤ 0 is no unit.
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
