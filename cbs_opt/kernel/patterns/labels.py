"""A quota for each label, where weights have labels in any order; for instance N:M along the channels of kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import frozen
from cbs_opt.kernel.patterns.grouped import numbered
from cbs_opt.kernel.patterns.labelled import Counts, Labelled
from cbs_opt.kernel.patterns.quotas import quotas_of


class Labels(Labelled):
    """The pattern in which every weight has a label, and each label its own least number of zeros.

        Z = {z : Σ_{i of label l} z_i ≤ size_l − prune_l for every l, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}

    Use it where the weights that share a quota are scattered; for consecutive segments there is ``Quotas``.

    Parameters
    ----------
    labels : integer array, shape (n,)
        The label of each weight, 0 … labels − 1, in any order.
    prune : int or sequence of int, shape (labels,)
        The least number of zeros of each label, from 0 to its number of weights; one number stands for all labels.
        Forbidden weights count towards it.
    keep, forbid : iterable of int, optional
        Indices that every mask keeps, and indices that every mask prunes.

    Raises
    ------
    PatternError
        A label has no weight, a quota is no whole number from 0 to the size of its label, an index lies outside [0, n)
        or is in both lists, or more weights are forced to stay than a quota allows.
    """

    def __init__(self, labels: Any, prune: Any, *, keep: Any = (), forbid: Any = ()) -> None:
        self._labels = frozen(numbered(labels, "labels"))
        sizes = np.bincount(self._labels)
        self._prune = quotas_of(prune, sizes, "label")
        super().__init__(len(self._labels), sizes - self._prune, keep, forbid)

    @classmethod
    def n_of_m_channels(cls, shape: Any, keep: int, of: int) -> Labels:
        """N:M sparsity along the input channels of a convolution.

        At each position of each output's kernels, at most ``keep`` of every ``of`` consecutive input channels stay.

        Parameters
        ----------
        shape : sequence of int
            The shape of the weight tensor, (outputs, inputs, height, width) or with any other number of axes for the
            positions of a kernel; n is the product.
        keep, of : int
            N and M; 2:4 is ``keep=2, of=4``.

        Raises
        ------
        PatternError
            M does not divide the number of input channels, or N is not in 0 … M.
        """
        sizes = [int(size) for size in shape]
        if of < 1 or not 0 <= keep <= of:
            raise PatternError(f"pattern {keep}:{of}: N:M keeps N of M weights, 0 ≤ N ≤ M and M ≥ 1")
        if len(sizes) < 2 or min(sizes) < 1:
            raise PatternError(
                f"pattern {keep}:{of}: a weight tensor of the shape {tuple(sizes)} has no input channels"
            )
        outputs, inputs, positions = sizes[0], sizes[1], int(np.prod(sizes[2:], dtype=np.int64))
        if inputs % of:
            raise PatternError(f"pattern {keep}:{of}: {of} does not divide the {inputs} input channels; choose another")
        group = np.arange(outputs * (inputs // of) * positions).reshape(outputs, inputs // of, 1, positions)
        return cls(np.broadcast_to(group, (outputs, inputs // of, of, positions)).ravel(), of - keep)

    @property
    def prune(self) -> Counts:
        """The least number of zeros of each label, shape (labels,)."""
        return frozen(self._prune)

    @property
    def labels(self) -> Counts:
        return self._labels

    def label_in_words(self, label: int) -> str:
        return f" of label {label}"

    def limits_in_words(self) -> str:
        sizes, quota = np.bincount(self._labels), int(self._prune[0])
        if (sizes == sizes[0]).all() and (self._prune == quota).all():
            return f"prune at least {quota} of the {sizes[0]} weights of each of {len(sizes)} labels"
        return f"prune at least {int(self._prune.sum())} of {self.n} by the quotas of {len(sizes)} labels"
