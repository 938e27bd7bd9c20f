"""At least k of n weights are pruned; some may be forced to stay, some forbidden to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.patterns.labelled import Counts, Labelled


def prune_count(n: int, sparsity: float) -> int:
    """k = ⌈r·n⌉, guarded against the float: 0.7 of 10 weights is 7, though 0.7·10 > 7 in binary.

    Parameters
    ----------
    n : int
        Number of weights.
    sparsity : float
        r, from 0 to 1.

    Raises
    ------
    PatternError
        When ``sparsity`` is not in [0, 1].
    """
    try:
        ratio = float(sparsity)
    except (TypeError, ValueError):
        raise PatternError(f"sparsity: is {sparsity!r}; a number in [0, 1] is needed") from None
    if not 0.0 <= ratio <= 1.0:
        raise PatternError(f"sparsity: is {ratio}; a number in [0, 1] is needed (0.9 prunes 90 % of the weights)")
    return min(n, max(0, math.ceil(ratio * n - 1e-9 * max(1.0, ratio * n))))


class Cardinality(Labelled):
    """Z = {z : Σ z_i ≤ n − k, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}: one label.

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
        k outside [0, n], an index outside [0, n), an index in both, or more kept than k allows.
    """

    limits = ("cardinality", "at least k weights are pruned")

    def __init__(self, n: int, prune: int, *, keep: Any = (), forbid: Any = ()) -> None:
        number = isinstance(prune, (int, float, np.integer, np.floating)) and not isinstance(prune, bool)
        if not (number and 0 <= prune <= n and prune % 1 == 0):
            raise PatternError(f"prune: is {prune}; a whole number between 0 and the {n} weights is needed")
        super().__init__(int(n), np.array([int(n) - int(prune)]), keep, forbid)

    @classmethod
    def from_sparsity(cls, n: int, sparsity: float, *, keep: Any = (), forbid: Any = ()) -> Cardinality:
        """At least ⌈sparsity·n⌉ zeros.

        Parameters
        ----------
        n : int
            Number of weights.
        sparsity : float
            The least share of zeros, from 0 to 1.
        keep, forbid : iterable of int, optional
            Indices that every mask keeps, and indices that every mask prunes.
        """
        return cls(n, prune_count(n, sparsity), keep=keep, forbid=forbid)

    @property
    def prune(self) -> int:
        """k, the least number of zeros."""
        return self._n - int(self._room[0])

    @property
    def most_kept_free(self) -> int:
        """How many free weights a mask may keep at the most."""
        return int(self._room_of_free[0])

    @property
    def labels(self) -> Counts:
        return np.broadcast_to(np.int64(0), self._n)

    def label_in_words(self, label: int) -> str:
        return ""

    def limits_in_words(self) -> str:
        return f"prune at least {self.prune} of {self._n}"
