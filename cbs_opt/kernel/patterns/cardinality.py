"""The pattern in which at least k of n weights are pruned; some may be forced to stay, and some forced to zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.patterns.labelled import Counts, Labelled


def prune_count(n: int, sparsity: float) -> int:
    """The number of weights k = ⌈r·n⌉ to prune for a sparsity r; an excess of r·n by mere round-off is ignored.

    Round-off may be 1e-9 of r·n, but no more than half a weight.

    Parameters
    ----------
    n : int
        Number of weights.
    sparsity : float
        r, from 0 to 1.

    Raises
    ------
    PatternError
        ``sparsity`` is not in [0, 1].
    """
    try:
        ratio = float(sparsity)
    except (TypeError, ValueError):
        raise PatternError(f"sparsity: is {sparsity!r}; a number in [0, 1] is needed") from None
    if not 0.0 <= ratio <= 1.0:
        raise PatternError(f"sparsity: is {ratio}; a number in [0, 1] is needed (0.9 prunes 90 % of the weights)")
    return min(n, max(0, math.ceil(ratio * n - min(0.5, 1e-9 * max(1.0, ratio * n)))))


class Cardinality(Labelled):
    """The pattern in which at least k of n weights are pruned, wherever they stand.

        Z = {z : Σ z_i ≤ n − k, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}

    Parameters
    ----------
    n : int
        Number of weights.
    prune : int
        k, the least number of zeros, 0 ≤ k ≤ n. Forbidden weights count towards it.
    keep, forbid : iterable of int, optional
        Indices that every mask keeps, and indices that every mask prunes.

    Raises
    ------
    PatternError
        k is no whole number in [0, n], an index lies outside [0, n) or is in both lists, or more weights are forced to
        stay than k allows.
    """

    limits = ("cardinality", "at least k weights are pruned")

    def __init__(self, n: int, prune: int, *, keep: Any = (), forbid: Any = ()) -> None:
        number = isinstance(prune, (int, float, np.integer, np.floating)) and not isinstance(prune, bool)
        if not (number and 0 <= prune <= n and prune % 1 == 0):
            raise PatternError(f"prune: is {prune}; a whole number between 0 and the {n} weights is needed")
        super().__init__(int(n), np.array([int(n) - int(prune)]), keep, forbid)

    @classmethod
    def from_sparsity(cls, n: int, sparsity: float, *, keep: Any = (), forbid: Any = ()) -> Cardinality:
        """The pattern in which at least ⌈sparsity·n⌉ weights are pruned.

        Parameters
        ----------
        n : int
            Number of weights.
        sparsity : float
            The least share of zeros, from 0 to 1.
        keep, forbid : iterable of int, optional
            Indices that every mask keeps, and indices that every mask prunes.

        Raises
        ------
        PatternError
            ``sparsity`` is not in [0, 1], or as for the class.
        """
        return cls(n, prune_count(n, sparsity), keep=keep, forbid=forbid)

    @property
    def prune(self) -> int:
        """k, the least number of zeros."""
        return self._n - int(self._room[0])

    @property
    def most_kept_free(self) -> int:
        """The largest number of free weights that a mask may keep."""
        return int(self._room_of_free[0])

    @property
    def labels(self) -> Counts:
        return np.broadcast_to(np.int64(0), self._n)

    def label_in_words(self, label: int) -> str:
        return ""

    def limits_in_words(self) -> str:
        return f"prune at least {self.prune} of {self._n}"
