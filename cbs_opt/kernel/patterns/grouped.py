"""Patterns in which every weight belongs to a group, and the limit is on the groups that stay.

A group stays if one of its weights is kept; other weights of a group that stays may be zero all the same. The value of
a group is the sum of its scores, and the best mask keeps all weights of the groups with the best total value V. Let
V(g out) and V(g in) be the best total values without and with group g. A mask that decides weight i of group g
differently from the best mask then scores at most

    max(V − s_i, V(g out))  if it prunes a kept weight,        V(g in)  if it keeps a pruned one.
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

    The base of ``Groups`` and ``Budget``. A subclass says which sets of groups may stay, by ``fits``, the oracle
    ``choose``, ``most_of``, ``flips_of``, ``relief_of`` and ``group_rows``. A set of groups that may stay must be
    allowed to lose any group that is not forced.

    Parameters
    ----------
    units : integer array, shape (n,)
        The group of each weight, 0 … groups − 1; no group is without a weight.
    keep, forbid : iterable of int
        Weights that every mask keeps, and their groups with them, and weights that every mask prunes.

    Raises
    ------
    PatternError
        An index lies outside [0, n) or is in both lists, or the groups of the forced weights may not stay together.
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
        """The groups that may stay, all ``forced`` ones among them, with the largest sum of their ``sums`` ≥ 0.

        Both arrays have shape (groups,).
        """

    @abstractmethod
    def most_of(self, sums: Vector) -> float:
        """An upper bound on the sum of the ``sums`` ≥ 0 of any groups that may stay together."""

    @abstractmethod
    def flips_of(self, sums: Vector, chosen: Mask) -> Vector:
        """For each group, the best sum if it is decided differently from ``chosen = choose(sums)``, or more.

        It is −inf where the group cannot be decided differently.
        """

    @abstractmethod
    def relief_of(self, groups: Mask) -> Vector:
        """The part of the excess of ``groups`` over the limit that removing each of them would end, shape (groups,)."""

    @abstractmethod
    def group_rows(self) -> tuple[Any, Any, Sequence[Named]]:
        """Which groups may stay together: A and b of rows over one 0/1 variable a group, and the names of the rows."""

    @abstractmethod
    def limits_in_words(self) -> str:
        """The limit on the groups in words, without the weights that are forced or forbidden."""

    @abstractmethod
    def too_many_forced(self) -> str:
        """The message of the error where the groups of the forced weights may not stay together."""

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
        """The groups of which ``z``, shape (n,), keeps a weight; shape (groups,)."""
        return np.asarray(np.bincount(self._units[z], minlength=self.groups) > 0)

    def sums(self, scores: Vector, among: Mask) -> Vector:
        """For each group, the sum of the scores of its weights in the mask ``among``, shape (groups,)."""
        counted = np.where(among, scores, 0.0)
        return np.asarray(np.bincount(self._units, weights=counted, minlength=self.groups), dtype=np.float64)

    def sums_above(self, scores: Vector, among: Mask) -> Vector:
        """The ``sums``, rounded upwards: none is below its exact value."""
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
        """As ``relaxed``, but over groups, whose scores are ``sums``, instead of weights; shape (groups,)."""
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
    """``groups`` as an integer array with the group of each weight, 0 … groups − 1; an error if a number is unused."""
    units = np.asarray(groups)
    if units.ndim != 1 or units.size == 0 or units.dtype.kind not in "iu" or units.min() < 0:
        raise PatternError(f"{field}: give the number of the group of every weight, 0 or more")
    counts = np.bincount(units)
    if (counts == 0).any():
        raise PatternError(f"{field}: no weight is in group {int(np.argmin(counts))}; number the groups without gaps")
    return units.astype(np.int64)
