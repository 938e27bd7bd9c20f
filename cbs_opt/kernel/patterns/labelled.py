"""Weights carry labels, and of each label only so many may stay: what a cardinality and quotas have in common."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector, frozen
from cbs_opt.kernel.patterns.base import Pattern

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel

Counts = NDArray[np.int64]


class Labelled(Pattern):
    """Z = {z : Σ_{i of label l} z_i ≤ room_l for every label l, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}.

    In matroid words, the independent sets of a partition matroid. A kind of it says which labels there are (``labels``)
    and what its limits are called (``limits_in_words``, ``label_in_words``, ``constrain_labels``).

    Parameters
    ----------
    n : int
        Number of weights.
    room : integer array, shape (labels,)
        The most weights of each label that may stay, forced ones included.
    keep, forbid : iterable of int
        Indices that every mask keeps, and indices that every mask prunes.

    Raises
    ------
    PatternError
        An index outside [0, n), an index in both, or more kept than their label has room for.
    """

    def __init__(self, n: int, room: Counts, keep: Any, forbid: Any) -> None:
        self._n = n
        self._room = frozen(room)
        self._force(index_mask(keep, n, "keep"), index_mask(forbid, n, "forbid"))

    def _force(self, keep: Mask, forbid: Mask) -> None:
        both = np.flatnonzero(keep & forbid)
        if both.size:
            raise PatternError(f"keep: weight {both[0]} is forced to stay and forbidden at once; drop it from one")
        forced = self.count(keep)
        if (forced > self._room).any():
            label = int(np.argmax(forced > self._room))
            size, room = int(self.count(np.ones(self._n, dtype=np.bool_))[label]), int(self._room[label])
            raise PatternError(
                f"keep: {forced[label]} weights{self.label_in_words(label)} are forced to stay, but pruning "
                f"{size - room} of {size} leaves {room}; force fewer or prune fewer"
            )
        self._keep, self._forbid = frozen(keep), frozen(forbid)
        self._free = frozen(~(keep | forbid))
        self._room_of_free = frozen(np.minimum(self._room - forced, self.count(self._free)))

    @property
    @abstractmethod
    def labels(self) -> Counts:
        """The label of each weight, 0 … labels − 1, shape (n,), read-only."""

    @abstractmethod
    def label_in_words(self, label: int) -> str:
        """Which weights ``label`` is about, as it follows 'weights' in a sentence."""

    @abstractmethod
    def limits_in_words(self) -> str:
        """What has to go, without what is forced or forbidden."""

    @abstractmethod
    def constrain_labels(self, model: ConcreteModel) -> None:
        """Add the limits of the labels to a Pyomo model, see ``constrain``."""

    @property
    def labelled(self) -> Labelled:
        return self

    @property
    def n(self) -> int:
        return self._n

    @property
    def room(self) -> Counts:
        """The most weights of each label that may stay, forced ones included, shape (labels,), read-only."""
        return self._room

    @property
    def room_of_free(self) -> Counts:
        """The most free weights of each label that may stay, shape (labels,), read-only."""
        return self._room_of_free

    @property
    def single(self) -> bool:
        """Whether all weights carry the same label: a plain cardinality, whatever the pattern is called."""
        return len(self._room) == 1

    @property
    def keep(self) -> Mask:
        """Weights forced to stay, shape (n,), read-only."""
        return self._keep

    @property
    def forbid(self) -> Mask:
        """Weights forced to zero, shape (n,), read-only."""
        return self._forbid

    @property
    def free(self) -> Mask:
        return self._free

    def count(self, z: Mask) -> Counts:
        """How many weights of each label ``z``, shape (n,), holds; shape (labels,)."""
        if self.single:
            return np.array([np.count_nonzero(z)], dtype=np.int64)
        return np.bincount(self.labels[z], minlength=len(self._room)).astype(np.int64, copy=False)

    def contains(self, z: Mask) -> bool:
        return bool(
            z.shape == (self._n,)
            and (self.count(z) <= self._room).all()
            and z[self._keep].all()
            and not z[self._forbid].any()
        )

    def argmax(self, scores: Vector) -> Mask:
        free = np.flatnonzero(self._free)
        order = free[np.argsort(-scores[free], kind="stable")]
        if self.single:
            best = order[: self._room_of_free[0]]
        else:
            order = order[np.argsort(self.labels[order], kind="stable")]
            labels = self.labels[order]
            size = np.bincount(labels, minlength=len(self._room))
            place = np.arange(len(order)) - (np.cumsum(size) - size)[labels]
            best = order[place < self._room_of_free[labels]]
        z = self._keep.copy()
        z[best] = True
        return z

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        value = float(scores[z].sum())
        kept, pruned = z & self._free, ~z & self._free
        # Pruning a kept weight lets the best pruned one of its label in.
        runner_up = self._per_label(np.maximum, np.where(pruned, scores, 0.0), 0.0)
        # Keeping a pruned weight pushes the worst kept one of its label out; without one it cannot be kept.
        worst = self._per_label(np.minimum, np.where(kept, scores, np.inf), np.inf)
        values = np.full(self._n, -np.inf)
        values[kept] = value - scores[kept] + runner_up[kept]
        values[pruned] = value + scores[pruned] - worst[pruned]
        return values

    def _per_label(self, choose: np.ufunc, values: Vector, empty: float) -> Vector:
        """The largest (smallest) of ``values`` among the weights of the same label, for every weight; shape (n,)."""
        if self.single:
            return np.broadcast_to(choose.reduce(values, initial=empty), values.shape)
        chosen = np.full(len(self._room), empty)
        choose.at(chosen, self.labels, values)
        return np.asarray(chosen[self.labels])

    def prunable(self, z: Mask) -> Mask:
        # Of a label all or none: which ones go does not change how many may stay.
        kept = z & self._free
        crowded = self.count(kept) > self._room_of_free
        if self.single:
            return kept if crowded[0] else np.zeros_like(kept)
        return kept & crowded[self.labels]

    def fixed(self, keep: Mask, prune: Mask) -> Self:
        smaller = copy.copy(self)
        smaller._force(self._keep | keep, self._forbid | prune)
        return smaller

    def constrain(self, model: ConcreteModel) -> None:
        self.constrain_labels(model)
        for i in np.flatnonzero(self._keep):
            model.z[int(i)].fix(1)
        for i in np.flatnonzero(self._forbid):
            model.z[int(i)].fix(0)

    def __str__(self) -> str:
        words = self.limits_in_words()
        if self._keep.any():
            words += f", {int(self._keep.sum())} forced to stay"
        if self._forbid.any():
            words += f", {int(self._forbid.sum())} forbidden"
        return words


def index_mask(indices: Any, n: int, field: str) -> Mask:
    """A mask of ``n`` weights from a list of indices."""
    chosen = np.asarray(indices if isinstance(indices, np.ndarray) else list(indices))
    mask = np.zeros(n, dtype=np.bool_)
    if chosen.size:
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise PatternError(f"{field}: give a list of weight indices")
        outside = chosen[(chosen < 0) | (chosen >= n)]
        if outside.size:
            raise PatternError(f"{field}: index {outside[0]} is outside 0 … {n - 1}")
        mask[chosen] = True
    return mask
