"""The intersection of several patterns, by the fastest oracle that there is for their combination."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Self

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.patterns.base import Pattern
from cbs_opt.kernel.patterns.labelled import Counts, Labelled
from cbs_opt.kernel.patterns.nested import Nested
from cbs_opt.kernel.patterns.rows import together
from cbs_opt.kernel.patterns.stated import Stated
from cbs_opt.kernel.patterns.within_groups import WithinGroups


def intersect(*patterns: Pattern) -> Pattern:
    """The pattern of the masks that all ``patterns`` allow, as 2:4 in the filters that stay, or a budget and quotas.

    Where labels lie inside labels (2:4 and a quota for each row) or inside groups (2:4 and kept filters), the oracle of
    the combination sorts; for all other combinations it is a mixed-integer program, solved by HiGHS.

    Each pattern is asked by itself whether it allows a mask. A ``Linear`` that ties weights together also allows masks
    in which one of them is zero, so it cannot count what may stay together with another pattern: state that count in
    the same ``Linear``.

    Parameters
    ----------
    *patterns : Pattern
        One or more patterns, all for the same number of weights.

    Raises
    ------
    PatternError
        No pattern is given, their sizes differ, or no mask is allowed by all of them.
    """
    parts = tuple(part for pattern in patterns for part in pattern.parts)
    if not parts:
        raise PatternError("intersect: no pattern is given; give two or more")
    sizes = sorted({part.n for part in parts})
    if len(sizes) > 1:
        raise PatternError(f"intersect: the patterns are of {sizes[0]} and of {sizes[-1]} weights; they must agree")
    some = [part.argmax(np.zeros(part.n)) for part in parts]
    keep = np.any([~part.free & z for part, z in zip(parts, some, strict=True)], axis=0)
    forbid = np.any([~part.free & ~z for part, z in zip(parts, some, strict=True)], axis=0)
    parts = tuple(part.fixed(keep, forbid) for part in parts)
    if len(parts) == 1:
        return parts[0]
    labelled = [part.labelled for part in parts if part.labelled is not None]
    grouped = [part.grouped for part in parts if part.grouped is not None]
    levels = _levels(labelled)
    if levels is not None and len(labelled) == len(parts):
        return _nested(levels)
    if (
        levels
        and len(grouped) == 1
        and len(labelled) + 1 == len(parts)
        and _inside(levels[-1].labels, grouped[0].units)
    ):
        return WithinGroups(grouped[0], _nested(levels))
    return Intersection(parts)


def _nested(levels: Sequence[Labelled]) -> Pattern:
    return levels[0] if len(levels) == 1 else Nested(tuple(levels))


def _levels(labelled: Sequence[Labelled]) -> list[Labelled] | None:
    """The patterns from the finest labels to the coarsest, without redundant ones; None where they are not nested."""
    asking = [level for level in labelled if (level.count(~level.forbid) > level.room).any()] or labelled[:1]
    levels = sorted(asking, key=lambda level: -len(np.unique(level.labels)))
    if not all(_inside(fine.labels, coarse.labels) for fine, coarse in pairwise(levels)):
        return None
    asking = levels[:1]
    for level in levels[1:]:
        # The most weights of each label of this level that the finer levels let stay.
        ones = np.ones(level.n)
        let_in = level.count(reduce(lambda z, fine: fine.largest(ones, z & fine.free), asking, ~level.forbid))
        if (let_in > level.room).any():
            asking.append(level)
    return asking


def _inside(fine: Counts, coarse: Counts) -> bool:
    """Whether weights of the same fine label always have the same coarse label."""
    both = fine * (int(coarse.max()) + 1) + coarse
    return len(np.unique(both)) == len(np.unique(fine))


class Intersection(Stated):
    """Z = the masks that all ``parts`` allow, with an oracle over all their rows; made by ``intersect``.

    Parameters
    ----------
    parts : tuple of Pattern
        The patterns, all of which force and forbid the same weights.
    """

    def __init__(self, parts: tuple[Pattern, ...]) -> None:
        self._parts = parts
        super().__init__(together([part.rows() for part in parts]))

    @property
    def parts(self) -> tuple[Pattern, ...]:
        return self._parts

    @property
    def units(self) -> Counts:
        """The unit of each weight, shape (n,): two weights share one if they share a unit in every part."""
        return np.unique([part.units for part in self._parts], axis=1, return_inverse=True)[1].ravel()

    def satisfies(self, z: Mask) -> bool:
        return all(part.contains(z) for part in self._parts)

    def fixed(self, keep: Mask, prune: Mask) -> Self:
        return type(self)(tuple(part.fixed(keep, prune) for part in self._parts))

    def limits_in_words(self) -> str:
        return " and ".join(part.limits_in_words() for part in self._parts)
