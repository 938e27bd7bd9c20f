"""The pattern of a certificate as plain arrays: the label of every weight, and how many of each label may stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import PatternError, UnsupportedError
from cbs_opt.kernel.arrays.types import Mask, frozen
from cbs_opt.kernel.arrays.validate import as_mask
from cbs_opt.kernel.problem import PruningProblem

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Limits:
    """The masks {z : Σ_{i of label l} z_i ≤ room_l for every l, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}.

    A cardinality has one label, quotas have one for each segment, and N:M has one for every M weights. Verification
    uses these arrays alone, and no code of the pattern's class. They are copied and read-only.

    Parameters
    ----------
    labels : int64 array (n,)
        The label of each weight, 0 … labels − 1.
    room : int64 array (labels,)
        The most weights of each label that may stay, forced ones included, from 0 to the number of its weights.
    keep, forbid : masks (n,)
        Weights that every mask keeps, and weights that every mask prunes.

    Raises
    ------
    InputError
        An array has a wrong dtype, shape or value, or no mask satisfies them all.
    """

    labels: Counts
    room: Counts
    keep: Mask
    forbid: Mask

    def __post_init__(self) -> None:
        labels, room = _whole(self.labels, "labels"), _whole(self.room, "room")
        n, wrong = len(labels), (labels < 0) | (labels >= len(room))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise PatternError(
                f"labels: weight {i} has label {labels[i]}; a number from 0 to {len(room) - 1} is needed"
            )
        keep, forbid = (np.array(as_mask(getattr(self, name), name, n)) for name in ("keep", "forbid"))
        for name, array in (("labels", labels), ("room", room), ("keep", keep), ("forbid", forbid)):
            object.__setattr__(self, name, frozen(array))
        size, forced = np.bincount(labels, minlength=len(room)), self.count(keep)
        if ((room < 0) | (room > size)).any():
            label = int(np.argmax((room < 0) | (room > size)))
            raise PatternError(f"room: is {room[label]} for label {label}; a number from 0 to {size[label]} is needed")
        if (keep & forbid).any():
            i = int(np.argmax(keep & forbid))
            raise PatternError(f"keep: weight {i} is forced to stay and forbidden at once; drop it from one")
        if (forced > room).any():
            label = int(np.argmax(forced > room))
            raise PatternError(
                f"keep: {forced[label]} weights of label {label} are forced to stay, but only {room[label]} may"
            )

    @classmethod
    def of(cls, problem: PruningProblem) -> Limits:
        """The limits of the problem's pattern; labels without a weight are left out.

        Raises
        ------
        UnsupportedError
            The pattern cannot be stated as labels with room.
        """
        pattern = problem.Z.labelled
        if pattern is None:
            raise UnsupportedError(
                f"certificate: cannot take the pattern {type(problem.Z).__name__} ({problem.Z}); what can be proven is "
                "one that limits how many weights of each label stay: a cardinality, quotas, N:M"
            )
        used, labels, size = np.unique(pattern.labels, return_inverse=True, return_counts=True)
        return cls(labels, np.minimum(pattern.room[used], size), pattern.keep, pattern.forbid)

    @classmethod
    def cardinality(cls, prune: int, keep: Mask, forbid: Mask) -> Limits:
        """The limits of a cardinality, at least ``prune`` zeros: one label for all weights.

        Parameters
        ----------
        prune : int
            The least number of zeros.
        keep, forbid : boolean array, shape (n,)
            Weights that every mask keeps, and weights that every mask prunes.
        """
        n = len(keep)
        if not 0 <= prune <= n:
            raise PatternError(f"prune: is {prune}; a whole number between 0 and the {n} weights is needed")
        return cls(np.zeros(n, dtype=np.int64), np.array([n - prune]), keep, forbid)

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.labels)

    @property
    def single(self) -> bool:
        """Whether all weights have the same label, as in a cardinality."""
        return len(self.room) == 1

    @property
    def prune(self) -> int:
        """The least number of zeros, summed over all labels."""
        return self.n - int(self.room.sum())

    def count(self, z: Mask) -> Counts:
        """How many weights of each label ``z``, shape (n,), keeps; shape (labels,)."""
        return np.bincount(self.labels[z], minlength=len(self.room))

    def contains(self, z: Mask) -> bool:
        """Whether the mask ``z``, shape (n,), satisfies the limits."""
        within = (self.count(z) <= self.room).all()
        return bool(within and z[self.keep].all() and not z[self.forbid].any())

    def __str__(self) -> str:
        """The limits in words that can follow 'a mask with'; forced and forbidden weights are not mentioned."""
        n, labels = self.n, len(self.room)
        if self.single:
            return f"at least {self.prune} of {n} zeros"
        of = n // labels
        if n % labels == 0 and (self.room == self.room[0]).all() and (self.labels == np.arange(n) // of).all():
            return f"at least {of - self.room[0]} zeros in every {of} consecutive weights"
        return f"at least {self.prune} of {n} zeros, by the quotas of {labels} labels"


def _whole(array: Any, field: str) -> Counts:
    """A copy of ``array``, which has to be an int64 vector."""
    if not (isinstance(array, np.ndarray) and array.dtype == np.int64 and array.ndim == 1 and array.size):
        raise PatternError(f"{field}: is no vector of whole numbers (int64)")
    return np.array(array)
