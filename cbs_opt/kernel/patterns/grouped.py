"""Weights stand in groups, and what is limited is which groups stay: what kept groups and budgets have in common.

Keeping a weight takes its whole group; a weight of a group that stays may be zero all the same. The best mask is that
of the groups whose scores, added up, are best, V in all. With V(g out) and V(g in) the best without and with group g, a
mask that decides weight i of group g otherwise scores at most

    max(V − s_i, V(g out))  to prune a kept weight,        V(g in)  to keep a pruned one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, eye_array, hstack, vstack

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import EPS, Mask, Vector, frozen
from cbs_opt.kernel.patterns.base import RelaxedMask
from cbs_opt.kernel.patterns.forcing import Forcing
from cbs_opt.kernel.patterns.labelled import Counts, index_mask
from cbs_opt.kernel.patterns.rows import Named, Rows


class Grouped(Forcing):
    """Z = {z : the groups with a kept weight may stay together, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}.

    A kind of it says which sets of groups may stay: ``fits``, its oracle ``choose``, ``most_of``, ``flips_of``,
    ``relief_of`` and ``group_rows``. A set that may stay may lose any group that is not forced.

    Parameters
    ----------
    units : integer array, shape (n,)
        The group of each weight, 0 … groups − 1, every one with a weight.
    keep, forbid : iterable of int
        Weights that every mask keeps, their groups therefore, and weights that every mask prunes.

    Raises
    ------
    PatternError
        An index outside [0, n), an index in both, or forced weights whose groups may not stay together.
    """

    def __init__(self, units: Counts, keep: Any, forbid: Any) -> None:
        self._units = frozen(units)
        self._sizes = frozen(np.bincount(units))
        self._single = len(self._sizes) == len(units)
        self._force(index_mask(keep, len(units), "keep"), index_mask(forbid, len(units), "forbid"))

    def _force(self, keep: Mask, forbid: Mask) -> None:
        super()._force(keep, forbid)
        self._forced = frozen(self.touched(keep))
        if not self.fits(self._forced):
            raise PatternError(self.too_many_forced())

    @abstractmethod
    def fits(self, groups: Mask) -> bool:
        """Whether ``groups``, shape (groups,), may stay together."""

    @abstractmethod
    def choose(self, sums: Vector) -> Mask:
        """The groups to keep, the ``forced`` ones among them, with the largest sum of ``sums`` ≥ 0, shape (groups,)."""

    @abstractmethod
    def most_of(self, sums: Vector) -> float:
        """A number that the sum of no groups which may stay exceeds."""

    @abstractmethod
    def flips_of(self, sums: Vector, chosen: Mask) -> Vector:
        """The best sum with each group decided otherwise than in ``chosen = choose(sums)``, or more; −∞ where none."""

    @abstractmethod
    def relief_of(self, groups: Mask) -> Vector:
        """The part of what ``groups``, shape (groups,), are too many or cost too much that goes with each of them."""

    @abstractmethod
    def group_rows(self) -> tuple[Any, Any, Sequence[Named]]:
        """A, b and their names over one 0/1 variable a group: which may stay together."""

    @abstractmethod
    def limits_in_words(self) -> str:
        """What has to go, without what is forced or forbidden."""

    @abstractmethod
    def too_many_forced(self) -> str:
        """The error where the groups of forced weights may not stay together."""

    @property
    def grouped(self) -> Grouped:
        return self

    @property
    def n(self) -> int:
        return len(self._units)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self._sizes)

    @property
    def units(self) -> Counts:
        return self._units

    @property
    def forced(self) -> Mask:
        """Groups with a weight that is forced to stay, shape (groups,), read-only."""
        return self._forced

    def touched(self, z: Mask) -> Mask:
        """Groups of which ``z``, shape (n,), keeps a weight; shape (groups,)."""
        return np.asarray(np.bincount(self._units[z], minlength=self.groups) > 0)

    def sums(self, scores: Vector, among: Mask) -> Vector:
        """The scores of each group's weights that are in ``among``, added up, shape (groups,)."""
        counted = np.where(among, scores, 0.0)
        return np.asarray(np.bincount(self._units, weights=counted, minlength=self.groups), dtype=np.float64)

    def sums_above(self, scores: Vector, among: Mask) -> Vector:
        """The same, rounded upwards."""
        sums = self.sums(scores, among)
        return sums if self._single else np.asarray(sums * (1.0 + 2.0 * EPS * self._sizes))

    def satisfies(self, z: Mask) -> bool:
        return self.fits(self.touched(z))

    def argmax(self, scores: Vector) -> Mask:
        z: Mask = self.choose(self.sums(scores, ~self._forbid))[self._units] & ~self._forbid
        return z

    def most(self, scores: Vector) -> float:
        return self.most_of(self.sums_above(scores, ~self._forbid))

    def relaxed(self, scores: Vector) -> RelaxedMask:
        found = self.relaxed_of(self.sums_above(scores, ~self._forbid))
        # A group that stays may do so without this weight.
        counted = np.where(self._forbid, 0.0, scores)
        pruned = np.maximum(found.pruned[self._units], found.most - counted * (1.0 - 1e-12))
        return RelaxedMask(
            np.where(self._forbid, 0.0, found.z[self._units]),
            found.most,
            np.where(self._forbid, -np.inf, found.kept[self._units]),
            np.where(self._keep, -np.inf, pruned),
        )

    def relaxed_of(self, sums: Vector) -> RelaxedMask:
        """``relaxed`` for groups with these scores; all arrays of shape (groups,)."""
        chosen, most = self.choose(sums), self.most_of(sums)
        others = self.flips_of(sums, chosen)
        return RelaxedMask(
            chosen.astype(np.float64), most, np.where(chosen, most, others), np.where(chosen, others, most)
        )

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        sums = self.sums(scores, ~self._forbid)
        others = self.flips_of(sums, self.choose(sums))[self._units]
        values = np.where(z, np.maximum(float(scores[z].sum()) - scores, others), others)
        return np.where(self._free, values, -np.inf)

    def relief(self, z: Mask) -> Vector:
        groups = self.touched(z)
        nearer = np.where(self.forced, 0.0, self.relief_of(groups))
        return np.where(z & self._free, nearer[self._units], 0.0)

    def rows(self) -> Rows:
        A, b, named = self.group_rows()
        if self._single:
            own: tuple[Named, ...] = ()
            A = csr_array(A)[:, self._units]
        else:
            n, groups = self.n, self.groups
            own = (Named("group_stays", groups, "1 keeps the group"),)
            member = csr_array((np.ones(n), (np.arange(n), self._units)), shape=(n, groups))
            above = hstack([eye_array(n), -member])
            A = vstack([above, hstack([csr_array((len(b), n)), csr_array(A)])])
            b = np.concatenate([np.zeros(n), b])
            named = [Named("in_group", n, "a kept weight takes its group"), *named]
        return Rows.of(A, b, keep=self._keep, forbid=self._forbid, constraints=named, variables=own)


def numbered(groups: Any, field: str = "groups") -> Counts:
    """``groups`` as the group of each weight, 0 … groups − 1, every number used."""
    units = np.asarray(groups)
    if units.ndim != 1 or units.size == 0 or units.dtype.kind not in "iu" or units.min() < 0:
        raise PatternError(f"{field}: give the number of the group of every weight, 0 or more")
    counts = np.bincount(units)
    if (counts == 0).any():
        raise PatternError(f"{field}: no weight is in group {int(np.argmin(counts))}; number the groups without gaps")
    return units.astype(np.int64)
