"""What the two trees of ``bnb`` share: values in the units of the block, the closing of leaves, and incumbents."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TypeVar

from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.update import obs_update
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.exact import tree

Open = TypeVar("Open", bound=tree.OpenNode)


class BlockSearch(tree.TreeSearch[Open]):
    """The tree of one problem. Values are in the units of ``CenteredBlock``, relative to f at the minimizer."""

    def __init__(self, problem: PruningProblem, gap: float) -> None:
        super().__init__(floor=0.0)
        self._problem = problem
        self._gap = gap
        self._block = CenteredBlock.of(problem)
        self._rank = math.inf

    def in_units_of_f(self, value: float) -> float:
        return self._block.bound(value)

    @abstractmethod
    def improved(self, mask: Mask) -> Mask:
        """A mask in Z, found by local search from ``mask``."""

    def _learn(self, one: BlockSearch[Open]) -> None:
        mask = one.mask if one._rank < self._rank else self.mask
        super()._learn(one)
        self.mask, self._rank = mask, min(self._rank, one._rank)

    def _close(self, mask: Mask, bound: float) -> None:
        """Close a leaf: offer its one mask, and note the bound that is proven for it, below its value by round-off.

        The lowest bound of all closed leaves limits the bound of the whole search.
        """
        from cbs_opt.solvers.compiled.node import support_value

        value, margin = support_value(self._block.H, self._block.c, mask)
        known = math.isfinite(value) and self._block.smallest > 0.0
        proven = sum_below(value, -margin) if known else 0.0
        self._closed = min(self._closed, max(proven, bound))
        self.offer(mask)

    def offer(self, mask: Mask) -> None:
        from cbs_opt.solvers.compiled.node import support_value

        H, c = self._block.H, self._block.c
        doubt = self._block.base_error / self._block.scale
        if not support_value(H, c, mask)[0] < self._value + doubt:
            return
        for candidate in (mask, self.improved(mask)):
            value, _ = support_value(H, c, candidate)
            # With the minimizer far away, values relative to it lose their small differences; then f itself decides.
            rank = value if doubt == 0 else self._problem.objective(obs_update(self._problem, candidate))
            if rank < self._rank:
                self._rank, self.mask = rank, candidate
            self._value = min(self._value, value)
        # The cutoff never rises, since nodes were discarded by the earlier one; with a gap above 1 it otherwise might.
        self._cutoff = min(
            self._cutoff, self._value - 0.9 * self._gap * abs(self._block.bound(self._value)) / self._block.scale
        )
