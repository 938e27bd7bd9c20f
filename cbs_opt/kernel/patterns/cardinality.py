"""At least k of n weights are pruned; some may be forced to stay, some forbidden to."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector, frozen
from cbs_opt.kernel.patterns.base import Pattern

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel


def prune_count(n: int, sparsity: float) -> int:
    """k = ⌈r·n⌉, guarded against the float: 0.7 of 10 weights is 7, though 0.7·10 > 7 in binary.

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


class Cardinality(Pattern):
    """Z = {z : Σ z_i ≤ n − k, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}.

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

    def __init__(self, n: int, prune: int, *, keep: Any = (), forbid: Any = ()) -> None:
        number = isinstance(prune, (int, float, np.integer, np.floating)) and not isinstance(prune, bool)
        if not (number and 0 <= prune <= n and prune % 1 == 0):
            raise PatternError(f"prune: is {prune}; a whole number between 0 and the {n} weights is needed")
        self._n = int(n)
        self._prune = int(prune)
        self._keep = index_mask(keep, n, "keep")
        self._forbid = index_mask(forbid, n, "forbid")
        both = np.flatnonzero(self._keep & self._forbid)
        if both.size:
            raise PatternError(f"keep: weight {both[0]} is forced to stay and forbidden at once; drop it from one")
        kept = int(self._keep.sum())
        if kept > self._n - self._prune:
            raise PatternError(
                f"keep: {kept} weights are forced to stay, but pruning {prune} of {n} leaves {n - prune}; "
                "force fewer or prune fewer"
            )

    @classmethod
    def from_sparsity(cls, n: int, sparsity: float, *, keep: Any = (), forbid: Any = ()) -> Cardinality:
        """At least ⌈sparsity·n⌉ zeros."""
        return cls(n, prune_count(n, sparsity), keep=keep, forbid=forbid)

    @property
    def n(self) -> int:
        return self._n

    @property
    def prune(self) -> int:
        """k, the least number of zeros."""
        return self._prune

    @property
    def keep(self) -> Mask:
        """Weights forced to stay, shape (n,), read-only."""
        return self._keep

    @property
    def forbid(self) -> Mask:
        """Weights forced to zero, shape (n,), read-only."""
        return self._forbid

    @cached_property
    def free(self) -> Mask:
        """Weights neither forced nor forbidden, shape (n,), read-only."""
        return frozen(~(self._keep | self._forbid))

    @cached_property
    def most_kept_free(self) -> int:
        """How many free weights a mask may keep at the most."""
        return min(self._n - self._prune - int(self._keep.sum()), int(self.free.sum()))

    def contains(self, z: Mask) -> bool:
        return bool(
            z.shape == (self._n,)
            and z.sum() <= self._n - self._prune
            and z[self._keep].all()
            and not z[self._forbid].any()
        )

    def argmax(self, scores: Vector) -> Mask:
        z = self._keep.copy()
        z[self._ranking(scores)[: self.most_kept_free]] = True
        return z

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        value = float(scores[z].sum())
        room = self.most_kept_free
        ranking = self._ranking(scores)
        values = np.full(self._n, -np.inf)
        # Pruning a kept weight lets the best pruned one in.
        runner_up = scores[ranking[room]] if room < len(ranking) else 0.0
        kept, pruned = ranking[:room], ranking[room:]
        values[kept] = value - scores[kept] + runner_up
        if room > 0:
            # Keeping a pruned weight pushes the worst kept one out.
            values[pruned] = value + scores[pruned] - scores[ranking[room - 1]]
        return values

    def prunable(self, z: Mask) -> Mask:
        # All or none: which ones go does not change how many may stay.
        kept = z & self.free
        return kept if np.count_nonzero(kept) > self.most_kept_free else np.zeros_like(kept)

    def fixed(self, keep: Mask, prune: Mask) -> Cardinality:
        return Cardinality(
            self._n,
            self._prune,
            keep=np.flatnonzero(self._keep | keep),
            forbid=np.flatnonzero(self._forbid | prune),
        )

    def constrain(self, model: ConcreteModel) -> None:
        from pyomo.environ import Constraint

        model.cardinality = Constraint(
            expr=sum(model.z[i] for i in model.I) <= self._n - self._prune, doc="at least k weights are pruned"
        )
        for i in np.flatnonzero(self._keep):
            model.z[int(i)].fix(1)
        for i in np.flatnonzero(self._forbid):
            model.z[int(i)].fix(0)

    def __str__(self) -> str:
        words = f"prune at least {self._prune} of {self._n}"
        if self._keep.any():
            words += f", {int(self._keep.sum())} forced to stay"
        if self._forbid.any():
            words += f", {int(self._forbid.sum())} forbidden"
        return words

    def _ranking(self, scores: Vector) -> np.ndarray:
        """Free weights by score, highest first, ties by index."""
        free = np.flatnonzero(self.free)
        return free[np.argsort(-scores[free], kind="stable")]


def index_mask(indices: Any, n: int, field: str) -> Mask:
    """A read-only mask of ``n`` weights from a list of indices."""
    chosen = np.asarray(indices if isinstance(indices, np.ndarray) else list(indices))
    mask = np.zeros(n, dtype=np.bool_)
    if chosen.size:
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise PatternError(f"{field}: give a list of weight indices")
        outside = chosen[(chosen < 0) | (chosen >= n)]
        if outside.size:
            raise PatternError(f"{field}: index {outside[0]} is outside 0 … {n - 1}")
        mask[chosen] = True
    return frozen(mask)
