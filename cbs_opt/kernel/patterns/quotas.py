"""Consecutive segments of weights, each with its own cardinality: quotas of rows or layers, and N:M sparsity."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector, frozen
from cbs_opt.kernel.patterns.labelled import Counts, Labelled


class Quotas(Labelled):
    """The pattern in which each of several consecutive segments of weights has its own least number of zeros.

        Z = {z : Σ_{i in segment s} z_i ≤ size_s − prune_s for every s, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}

    Segment s holds the ``sizes[s]`` weights that follow those of segment s − 1, for instance a row or a layer. N:M
    sparsity is made by ``Quotas.n_of_m``.

    Parameters
    ----------
    sizes : sequence of int, shape (segments,)
        The number of weights of each segment, at least 1; n is their sum.
    prune : int or sequence of int, shape (segments,)
        The least number of zeros of each segment, from 0 to its size; one number stands for all segments. Forbidden
        weights count towards it.
    keep, forbid : iterable of int, optional
        Indices that every mask keeps, and indices that every mask prunes.

    Raises
    ------
    PatternError
        A size is no whole number ≥ 1, a quota is no whole number from 0 to the size of its segment, an index lies
        outside [0, n) or is in both lists, or more weights are forced to stay than a quota allows.
    """

    limits = ("quotas", "each segment prunes at least its quota")

    def __init__(self, sizes: Any, prune: Any, *, keep: Any = (), forbid: Any = ()) -> None:
        self._sizes = counts_of(sizes, "sizes", "segment")
        if (self._sizes < 1).any():
            s = int(np.argmax(self._sizes < 1))
            raise PatternError(f"sizes: segment {s} has {self._sizes[s]} weights; at least 1 is needed")
        self._prune = quotas_of(prune, self._sizes, "segment")
        self._equal = bool((self._sizes == self._sizes[0]).all())
        self._labels = frozen(np.repeat(np.arange(self.segments), self._sizes))
        super().__init__(int(self._sizes.sum()), self._sizes - self._prune, keep, forbid)

    @classmethod
    def n_of_m(cls, n: int, keep: int, of: int, *, row: int | None = None) -> Quotas:
        """N:M sparsity: at most ``keep`` of every ``of`` consecutive weights along the input dimension stay.

        Parameters
        ----------
        n : int
            Number of weights.
        keep, of : int
            N and M; 2:4 is ``keep=2, of=4``.
        row : int, optional
            Number of weights of one output row, where the n weights are several rows one after the other; n by default.

        Raises
        ------
        PatternError
            M does not divide a row, a row does not divide n, or N is not in 0 … M.
        """
        row = n if row is None else row
        if of < 1 or not 0 <= keep <= of:
            raise PatternError(f"pattern {keep}:{of}: N:M keeps N of M weights, 0 ≤ N ≤ M and M ≥ 1")
        if row < 1 or n % row:
            raise PatternError(f"pattern {keep}:{of}: {n} weights do not make rows of {row}")
        if row % of:
            raise PatternError(f"pattern {keep}:{of}: {of} does not divide the {row} weights of a row; choose another")
        return cls(np.full(n // of, of), of - keep)

    @property
    def segments(self) -> int:
        """Number of segments."""
        return len(self._sizes)

    @property
    def sizes(self) -> Counts:
        """The number of weights of each segment, shape (segments,)."""
        return frozen(self._sizes)

    @property
    def prune(self) -> Counts:
        """The least number of zeros of each segment, shape (segments,)."""
        return frozen(self._prune)

    @property
    def labels(self) -> Counts:
        """The segment of each weight, shape (n,), read-only."""
        return self._labels

    def argmax(self, scores: Vector) -> Mask:
        if not self._equal:
            return super().argmax(scores)
        # Segments of equal size are sorted side by side, which for N:M is many times faster.
        ranked = np.where(self._keep, -np.inf, np.where(self._forbid, np.inf, -scores))
        z = np.zeros(self._n, dtype=np.bool_)
        order = np.argsort(ranked.reshape(self.segments, -1), axis=1, kind="stable")
        chosen = np.arange(order.shape[1]) < self.room[:, None]
        np.put_along_axis(z.reshape(order.shape), order, chosen, axis=1)
        return z & ~self._forbid

    def label_in_words(self, label: int) -> str:
        return f" of segment {label}"

    def limits_in_words(self) -> str:
        size, quota = int(self._sizes[0]), int(self._prune[0])
        if self.segments == 1:
            return f"prune at least {quota} of {self._n}"
        if self._equal and (self._prune == quota).all():
            return f"prune at least {quota} of every {size} consecutive weights of {self._n}"
        return f"prune at least {int(self._prune.sum())} of {self._n} by the quotas of {self.segments} segments"


def quotas_of(prune: Any, sizes: Counts, what: str) -> Counts:
    """``prune`` as the least number of zeros of each ``what``, from 0 to its size; one number stands for all."""
    found = counts_of(np.full(len(sizes), prune) if np.ndim(prune) == 0 else prune, "prune", what)
    if len(found) != len(sizes):
        raise PatternError(f"prune: has {len(found)} quotas for {len(sizes)} {what}s; they must agree")
    wrong = (found < 0) | (found > sizes)
    if wrong.any():
        s = int(np.argmax(wrong))
        raise PatternError(
            f"prune: is {found[s]} for {what} {s}; a number between 0 and its {sizes[s]} weights is needed"
        )
    return found


def counts_of(value: Any, field: str, what: str) -> Counts:
    """``value`` as an array of whole numbers, one for each ``what``."""
    try:
        raw = np.asarray(value)
    except (TypeError, ValueError):
        raise PatternError(f"{field}: give one whole number a {what}") from None
    if raw.ndim != 1 or raw.size == 0 or raw.dtype.kind not in "iuf" or not (np.isfinite(raw) & (raw % 1 == 0)).all():
        raise PatternError(f"{field}: is {value!r}; give one whole number a {what}")
    return raw.astype(np.int64)
