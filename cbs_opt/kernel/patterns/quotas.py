"""Consecutive segments of weights, each with its own cardinality: quotas of rows or layers, and N:M sparsity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector, frozen
from cbs_opt.kernel.patterns.base import Pattern
from cbs_opt.kernel.patterns.cardinality import Cardinality, index_mask

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel

Counts = NDArray[np.int64]


class Quotas(Pattern):
    """Z = {z : Σ_{i in segment s} z_i ≤ size_s − prune_s for every s, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}.

    Segment s holds the ``sizes[s]`` weights that follow those of segment s − 1.

    Parameters
    ----------
    sizes : sequence of int, shape (segments,)
        ≥ 1 each; n is their sum.
    prune : int or sequence of int, shape (segments,)
        The least number of zeros of each segment, 0 … size; one number stands for all segments. Forbidden
        weights count towards it.
    keep, forbid : iterable of int, optional
        Indices that every mask keeps, and indices that every mask prunes.

    Raises
    ------
    PatternError
        A size or a quota that cannot be, an index outside [0, n) or in both, or more kept than a quota allows.
    """

    def __init__(self, sizes: Any, prune: Any, *, keep: Any = (), forbid: Any = ()) -> None:
        self._sizes = _counts(sizes, "sizes")
        if (self._sizes < 1).any():
            s = int(np.argmax(self._sizes < 1))
            raise PatternError(f"sizes: segment {s} has {self._sizes[s]} weights; at least 1 is needed")
        quotas = np.full(self.segments, prune) if np.ndim(prune) == 0 else prune
        self._prune = _counts(quotas, "prune")
        if len(self._prune) != self.segments:
            raise PatternError(f"prune: has {len(self._prune)} quotas for {self.segments} segments; they must agree")
        wrong = (self._prune < 0) | (self._prune > self._sizes)
        if wrong.any():
            s = int(np.argmax(wrong))
            raise PatternError(
                f"prune: is {self._prune[s]} for segment {s}; a number between 0 and its {self._sizes[s]} weights is "
                "needed"
            )
        self._n = int(self._sizes.sum())
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._equal = bool((self._sizes == self._sizes[0]).all())
        self._labels = frozen(np.repeat(np.arange(self.segments), self._sizes))
        self._keep = index_mask(keep, self._n, "keep")
        self._forbid = index_mask(forbid, self._n, "forbid")
        both = np.flatnonzero(self._keep & self._forbid)
        if both.size:
            raise PatternError(f"keep: weight {both[0]} is forced to stay and forbidden at once; drop it from one")
        forced = self._per_segment(self._keep)
        if (forced > self.room).any():
            s = int(np.argmax(forced > self.room))
            raise PatternError(
                f"keep: {forced[s]} weights of segment {s} are forced to stay, but pruning {self._prune[s]} of "
                f"{self._sizes[s]} leaves {self.room[s]}; force fewer or prune fewer"
            )

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
            Weights of one output row, where ``n`` are several rows one after the other; n when left out.

        Raises
        ------
        PatternError
            Rows that M does not divide, or N not in 0 … M.
        """
        row = n if row is None else row
        if of < 1 or not 0 <= keep <= of:
            raise PatternError(f"pattern {keep}:{of}: N:M keeps N of M weights, 0 ≤ N ≤ M and M ≥ 1")
        if row < 1 or n % row:
            raise PatternError(f"pattern {keep}:{of}: {n} weights do not make rows of {row}")
        if row % of:
            raise PatternError(f"pattern {keep}:{of}: {of} does not divide the {row} weights of a row; choose another")
        return cls(np.full(n // of, of), of - keep)

    @classmethod
    def of(cls, pattern: Pattern) -> Quotas | None:
        """``pattern`` in terms of quotas: itself, or a cardinality as one segment; None for any other kind."""
        if isinstance(pattern, Quotas):
            return pattern
        if isinstance(pattern, Cardinality):
            keep, forbid = np.flatnonzero(pattern.keep), np.flatnonzero(pattern.forbid)
            return cls([pattern.n], pattern.prune, keep=keep, forbid=forbid)
        return None

    @property
    def n(self) -> int:
        return self._n

    @property
    def segments(self) -> int:
        """Number of segments."""
        return len(self._sizes)

    @property
    def sizes(self) -> Counts:
        """Weights of each segment, shape (segments,)."""
        return frozen(self._sizes)

    @property
    def prune(self) -> Counts:
        """The least number of zeros of each segment, shape (segments,)."""
        return frozen(self._prune)

    @property
    def room(self) -> Counts:
        """The most weights each segment may keep, shape (segments,)."""
        return self._sizes - self._prune

    @property
    def labels(self) -> Counts:
        """The segment of each weight, shape (n,), read-only."""
        return self._labels

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
        return ~(self._keep | self._forbid)

    def contains(self, z: Mask) -> bool:
        return bool(
            z.shape == (self._n,)
            and (self._per_segment(z) <= self.room).all()
            and z[self._keep].all()
            and not z[self._forbid].any()
        )

    def argmax(self, scores: Vector) -> Mask:
        ranked = np.where(self._keep, -np.inf, np.where(self._forbid, np.inf, -scores))
        z = np.zeros(self._n, dtype=np.bool_)
        if self._equal:
            order = np.argsort(ranked.reshape(self.segments, -1), axis=1, kind="stable")
            chosen = np.arange(order.shape[1]) < self.room[:, None]
            np.put_along_axis(z.reshape(order.shape), order, chosen, axis=1)
        else:
            by_segment = np.lexsort((ranked, self._labels))
            z[by_segment] = np.arange(self._n) - self._starts[self._labels] < self.room[self._labels]
        return z & ~self._forbid

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        value = float(scores[z].sum())
        free = self.free
        kept, pruned = z & free, ~z & free
        # Pruning a kept weight lets the best pruned one of its segment in.
        runner_up = np.maximum.reduceat(np.where(pruned, scores, 0.0), self._starts)[self._labels]
        # Keeping a pruned weight pushes the worst kept one of its segment out; without one it cannot be kept.
        worst = np.minimum.reduceat(np.where(kept, scores, np.inf), self._starts)[self._labels]
        values = np.full(self._n, -np.inf)
        values[kept] = value - scores[kept] + runner_up[kept]
        values[pruned] = value + scores[pruned] - worst[pruned]
        return values

    def fixed(self, keep: Mask, prune: Mask) -> Quotas:
        return Quotas(
            self._sizes,
            self._prune,
            keep=np.flatnonzero(self._keep | keep),
            forbid=np.flatnonzero(self._forbid | prune),
        )

    def constrain(self, model: ConcreteModel) -> None:
        from pyomo.environ import Constraint, RangeSet

        def quota(model: ConcreteModel, s: int) -> Any:
            first = int(self._starts[s])
            weights = range(first, first + int(self._sizes[s]))
            return sum(model.z[i] for i in weights) <= int(self.room[s])

        model.segments = RangeSet(0, self.segments - 1)
        model.quotas = Constraint(model.segments, rule=quota, doc="each segment prunes at least its quota")
        for i in np.flatnonzero(self._keep):
            model.z[int(i)].fix(1)
        for i in np.flatnonzero(self._forbid):
            model.z[int(i)].fix(0)

    def __str__(self) -> str:
        size, quota = int(self._sizes[0]), int(self._prune[0])
        if self.segments == 1:
            words = f"prune at least {quota} of {self._n}"
        elif self._equal and (self._prune == quota).all():
            words = f"prune at least {quota} of every {size} consecutive weights of {self._n}"
        else:
            words = f"prune at least {int(self._prune.sum())} of {self._n} by the quotas of {self.segments} segments"
        if self._keep.any():
            words += f", {int(self._keep.sum())} forced to stay"
        if self._forbid.any():
            words += f", {int(self._forbid.sum())} forbidden"
        return words

    def _per_segment(self, z: Mask) -> Counts:
        """How many weights of each segment ``z`` holds, shape (segments,)."""
        return np.add.reduceat(z.astype(np.int64), self._starts)


def _counts(value: Any, field: str) -> Counts:
    """``value`` as whole numbers, one a segment."""
    try:
        raw = np.asarray(value)
    except (TypeError, ValueError):
        raise PatternError(f"{field}: give one whole number a segment") from None
    if raw.ndim != 1 or raw.size == 0 or raw.dtype.kind not in "iuf" or not (np.isfinite(raw) & (raw % 1 == 0)).all():
        raise PatternError(f"{field}: is {value!r}; give one whole number a segment")
    return raw.astype(np.int64)
