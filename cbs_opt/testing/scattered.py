"""A pattern for tests of code that should serve any ``Labelled`` pattern: labels in any order, some without weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.kernel.patterns.labelled import Counts, Labelled


class Scattered(Labelled):
    """Z = {z : at most room_l of the weights with label l stay, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}.

    Unlike in ``Labels``, a label may have no weight, or room for more weights than it has. Tests with this pattern find
    code that relies on how ``Labels`` and ``Quotas`` are made.

    Parameters
    ----------
    labels : integer array, shape (n,)
        The label of each weight, 0 … labels − 1.
    room : integer array, shape (labels,)
        The most weights of each label that may stay, forced ones included.
    keep, forbid : iterable of int, optional
        Indices that every mask keeps, and indices that every mask prunes.

    Raises
    ------
    PatternError
        An index lies outside [0, n) or is in both lists, or more weights are forced to stay than their label has room
        for.
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
