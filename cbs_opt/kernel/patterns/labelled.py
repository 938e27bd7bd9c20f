"""Patterns in which every weight has a label and only so many weights of each label may stay."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector, frozen
from cbs_opt.kernel.patterns.forcing import Forcing
from cbs_opt.kernel.patterns.rows import Named, Rows

Counts = NDArray[np.int64]


class Labelled(Forcing):
    """Z = {z : Σ_{i of label l} z_i ≤ room_l for every label l, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}.

    The base of ``Cardinality``, ``Quotas`` and ``Labels``: each weight has one label, and each label *room* for so many
    kept weights. In the terms of matroids these are the independent sets of a partition matroid. A subclass says which
    labels there are (``labels``) and what its limits are called (``limits_in_words``, ``label_in_words``, ``limits``).

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
        An index lies outside [0, n) or is in both lists, or more weights are forced to stay than their label has room
        for.
    """

    exact_flips = True
    limits: ClassVar[tuple[str, str]] = ("labels_with_room", "of each label only so many weights stay")
    """The name of the limits in a Pyomo model, and what they say in words."""

    def __init__(self, n: int, room: Counts, keep: Any, forbid: Any) -> None:
        self._n = n
        self._room = frozen(room)
        self._force(index_mask(keep, n, "keep"), index_mask(forbid, n, "forbid"))

    def _force(self, keep: Mask, forbid: Mask) -> None:
        super()._force(keep, forbid)
        forced = self.count(keep)
        if (forced > self._room).any():
            label = int(np.argmax(forced > self._room))
            size, room = int(self.count(np.ones(self._n, dtype=np.bool_))[label]), int(self._room[label])
            raise PatternError(
                f"keep: {forced[label]} weights{self.label_in_words(label)} are forced to stay, but pruning "
                f"{size - room} of {size} leaves {room}; force fewer or prune fewer"
            )
        self._room_of_free = frozen(np.minimum(self._room - forced, self.count(self._free)))

    @property
    @abstractmethod
    def labels(self) -> Counts:
        """The label of each weight, 0 … labels − 1, shape (n,), read-only."""

    @abstractmethod
    def label_in_words(self, label: int) -> str:
        """The words for the weights of ``label`` that follow 'weights' in a sentence, as ' of segment 3'."""

    @abstractmethod
    def limits_in_words(self) -> str:
        """How many weights have to be pruned, in words, without those that are forced or forbidden."""

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
        """Whether all weights have the same label, so that the pattern is a cardinality, whatever its class."""
        return len(self._room) == 1

    def count(self, z: Mask) -> Counts:
        """How many weights of each label ``z``, shape (n,), keeps; shape (labels,)."""
        if self.single:
            return np.array([np.count_nonzero(z)], dtype=np.int64)
        return np.bincount(self.labels[z], minlength=len(self._room)).astype(np.int64, copy=False)

    def satisfies(self, z: Mask) -> bool:
        return bool((self.count(z) <= self._room).all())

    def argmax(self, scores: Vector) -> Mask:
        return self.largest(scores, self._free)

    def largest(self, scores: Vector, among: Mask) -> Mask:
        """The mask of the forced weights and the largest scores ``among`` free weights that labels have room for."""
        free = np.flatnonzero(among)
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
        """For every weight, the largest or smallest of ``values`` among the weights of its label; shape (n,)."""
        if self.single:
            return np.broadcast_to(choose.reduce(values, initial=empty), values.shape)
        chosen = np.full(len(self._room), empty)
        choose.at(chosen, self.labels, values)
        return np.asarray(chosen[self.labels])

    def relief(self, z: Mask) -> Vector:
        # All kept weights of a label beyond its room count alike: it does not matter which of them are pruned.
        kept = z & self._free
        over = np.maximum(self.count(kept) - self._room_of_free, 0)
        crowded = over > 0
        part = 1.0 / max(int(over.sum()), 1)
        return np.where(kept & (crowded[0] if self.single else crowded[self.labels]), part, 0.0)

    def rows(self) -> Rows:
        labels = self.labels
        A = csr_array((np.ones(self._n), (labels, np.arange(self._n))), shape=(len(self._room), self._n))
        named = [Named(self.limits[0], len(self._room), self.limits[1])]
        return Rows.of(A, self._room, keep=self._keep, forbid=self._forbid, constraints=named)


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
