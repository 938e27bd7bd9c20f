"""The pattern in which at least k groups of weights are pruned whole: columns, neurons, heads or blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.sums import sum_above
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns.cardinality import prune_count
from cbs_opt.kernel.patterns.grouped import Grouped, numbered
from cbs_opt.kernel.patterns.rows import Named


class Groups(Grouped):
    """The pattern in which at least k groups of weights are pruned whole, such as columns, neurons, heads or blocks.

        Z = {z : at most groups − k groups have a kept weight, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}

    A group that stays may have zeros, too.

    Parameters
    ----------
    groups : integer array, shape (n,)
        The group of each weight, 0 … groups − 1; every weight is in exactly one.
    prune : int
        k, the least number of groups without a kept weight.
    keep, forbid : iterable of int, optional
        Weights that every mask keeps, so that their groups stay, and weights that every mask prunes.

    Raises
    ------
    PatternError
        A group has no weight, k is not in 0 … groups, an index lies outside [0, n) or is in both lists, or more groups
        have forced weights than may stay.
    """

    exact_flips = True

    def __init__(self, groups: Any, prune: int, *, keep: Any = (), forbid: Any = ()) -> None:
        units = numbered(groups)
        count = int(units.max()) + 1
        number = isinstance(prune, (int, float, np.integer, np.floating)) and not isinstance(prune, bool)
        if not (number and 0 <= prune <= count and prune % 1 == 0):
            raise PatternError(f"prune: is {prune}; a whole number between 0 and the {count} groups is needed")
        self._room = count - int(prune)
        super().__init__(units, keep, forbid)

    @classmethod
    def of_members(cls, members: Sequence[Any], prune: int, *, keep: Any = (), forbid: Any = ()) -> Groups:
        """The pattern for groups that are given by the indices of their weights.

        Parameters
        ----------
        members : sequence of sequences of int
            The weights of each group; together they are 0 … n − 1.
        prune : int
            The least number of groups that is pruned.
        keep, forbid : iterable of int, optional
            Weights that every mask keeps, and weights that every mask prunes.

        Raises
        ------
        PatternError
            Groups overlap, a weight is in none, or as for the class.
        """
        lists = [np.asarray(group, dtype=np.int64).ravel() for group in members]
        every = np.concatenate([*lists, np.zeros(0, dtype=np.int64)])
        units = np.repeat(np.arange(len(lists)), [len(group) for group in lists])
        order = np.argsort(every, kind="stable")
        again = np.flatnonzero(np.diff(every[order]) == 0)
        if again.size:
            first, second = units[order[again[0]]], units[order[again[0] + 1]]
            raise PatternError(
                f"groups: weight {every[order[again[0]]]} is in group {first} and in group {second}; they must not "
                "overlap"
            )
        if not np.array_equal(every[order], np.arange(len(every))):
            missing = int(np.argmax(every[order] != np.arange(len(every))))
            raise PatternError(f"groups: weight {missing} is in no group; every weight needs one")
        return cls(units[order], prune, keep=keep, forbid=forbid)

    @classmethod
    def of_columns(cls, rows: int, inputs: int, sparsity: float) -> Groups:
        """The pattern in which whole input columns of a layer are pruned; its weights are flattened row by row.

        Parameters
        ----------
        rows, inputs : int
            Number of outputs of the layer, and number of weights of each.
        sparsity : float
            The least share of the columns that is pruned.
        """
        return cls(np.tile(np.arange(inputs), rows), prune_count(inputs, sparsity))

    @classmethod
    def of_rows(cls, rows: int, inputs: int, sparsity: float) -> Groups:
        """The pattern in which whole output rows of a layer are pruned: neurons, or the filters of a convolution.

        Parameters
        ----------
        rows, inputs : int
            Number of outputs of the layer, and number of weights of each.
        sparsity : float
            The least share of the rows that is pruned.
        """
        return cls(np.repeat(np.arange(rows), inputs), prune_count(rows, sparsity))

    @classmethod
    def of_blocks(cls, n: int, of: int, sparsity: float, *, row: int | None = None) -> Groups:
        """The pattern in which whole blocks of consecutive weights are pruned: parts of a row, or several whole rows.

        Blocks of k·k weights are the k × k kernels of a convolution, and blocks of several rows are attention heads.

        Parameters
        ----------
        n : int
            Number of weights.
        of : int
            Number of weights of a block: a divisor of ``row``, or a multiple of it.
        sparsity : float
            The least share of the blocks that is pruned.
        row : int, optional
            Number of weights of a row; n by default.

        Raises
        ------
        PatternError
            The size of a block neither divides a row nor is a multiple of it, or blocks or rows do not divide n.
        """
        row = n if row is None else row
        if of < 1 or row < 1 or n % row or (row % of and of % row) or n % of:
            raise PatternError(f"blocks of {of}: {of} does not divide the {row} weights of a row; choose another")
        return cls(np.arange(n) // of, prune_count(n // of, sparsity))

    @property
    def prune(self) -> int:
        """k, the least number of groups without a kept weight."""
        return self.groups - self._room

    def fits(self, groups: Mask) -> bool:
        return int(np.count_nonzero(groups)) <= self._room

    def choose(self, sums: Vector) -> Mask:
        order = np.argsort(np.where(self.forced, -np.inf, -sums), kind="stable")
        chosen = np.zeros(self.groups, dtype=np.bool_)
        chosen[order[: self._room]] = True
        return chosen

    def most_of(self, sums: Vector) -> float:
        return sum_above(sums[self.choose(sums)])

    def flips_of(self, sums: Vector, chosen: Mask) -> Vector:
        value = float(sums[chosen].sum())
        # Where a kept group is pruned, the best pruned one is kept instead; where a pruned one is kept, the worst kept
        # one is pruned.
        runner_up = float(sums[~chosen].max(initial=0.0))
        worst = float(sums[chosen & ~self.forced].min(initial=np.inf))
        values = np.where(chosen, value - sums + runner_up, value + sums - worst)
        return np.where(self.forced, -np.inf, values)

    def relief_of(self, groups: Mask) -> Vector:
        over = int(np.count_nonzero(groups)) - self._room
        return groups / over if over > 0 else np.zeros(self.groups)

    def group_rows(self) -> tuple[Any, Any, Sequence[Named]]:
        return np.ones((1, self.groups)), [self._room], [Named("groups", 1, "at least k groups are pruned")]

    def limits_in_words(self) -> str:
        sizes = np.unique(self._sizes)
        of = f" of {sizes[0]} weights" if len(sizes) == 1 else ""
        return f"prune at least {self.prune} of {self.groups} groups{of}"

    def too_many_forced(self) -> str:
        return (
            f"keep: {int(self.forced.sum())} groups hold weights that are forced to stay, but pruning {self.prune} of "
            f"{self.groups} leaves {self._room}; force fewer or prune fewer"
        )
