"""A pattern that the package knows nothing of: weights with labels in any order."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.kernel.patterns.labelled import Counts, Labelled


class Scattered(Labelled):
    """Z = {z : at most room_l of the weights with label l stay, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}.

    Unlike those of ``Labels``, a label may have no weight at all, and room for more weights than carry it. What holds
    for labels and quotas only because of how they are made shows on it.

    Parameters
    ----------
    labels : integer array, shape (n,)
        0 … labels − 1.
    room : integer array, shape (labels,)
        The most weights of each label that may stay, forced ones included.
    keep, forbid : iterable of int, optional
        Indices that every mask keeps, and indices that every mask prunes.

    Raises
    ------
    PatternError
        An index outside [0, n) or in both, or more kept than their label has room for.
    """

    def __init__(self, labels: Any, room: Any, keep: Any = (), forbid: Any = ()) -> None:
        self._labels = np.asarray(labels, dtype=np.int64)
        super().__init__(len(self._labels), np.asarray(room, dtype=np.int64), keep, forbid)

    @property
    def labels(self) -> Counts:
        """The label of each weight, shape (n,)."""
        return self._labels

    def label_in_words(self, label: int) -> str:
        return f" labelled {label}"

    def limits_in_words(self) -> str:
        return "keep at most " + ", ".join(map(str, self.room))
