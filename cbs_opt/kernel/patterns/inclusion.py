"""Whether one pattern lies within another: 2:4 within 4:8, both within half of all weights."""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.patterns.base import Pattern
from cbs_opt.kernel.patterns.forced import forbidden, forced
from cbs_opt.kernel.patterns.labelled import Labelled


def lies_within(inner: Pattern, outer: Pattern) -> bool:
    """Whether it is proven that ``outer`` allows every mask of ``inner``.

    What is least over all masks of ``outer`` is then nowhere undercut in ``inner``, so that a lower bound holds for
    both. True only where ``outer`` forces no weight to stay and is made of labels with room, no label of which can hold
    more weights of a mask of ``inner`` than it has room for; False says that this is not so, or not known.
    """
    if forced(outer).any() or (forbidden(outer) & ~forbidden(inner)).any():
        return False
    limits = [part.labelled for part in outer.parts]
    known = [limit for limit in limits if limit is not None]
    some = (inner, *inner.parts)  # what holds for all masks of a part holds for those of the whole
    return len(known) == len(limits) and all(any(_has_room(limit, part) for part in some) for limit in known)


def _has_room(outer: Labelled, inner: Pattern) -> bool:
    """Whether no mask of ``inner`` holds more weights of any label of ``outer`` than that has room for."""
    if outer.single:
        return inner.most(np.ones(inner.n)) < outer.room[0] + 1
    finer = inner.labelled
    if finer is None:
        return False
    # The labels of a Labelled fill up independently: of each, what lies in one label of outer, at most its room.
    free, labels = finer.free, len(finer.room)
    both, sizes = np.unique(outer.labels[free] * labels + finer.labels[free], return_counts=True)
    most = outer.count(finer.keep)
    np.add.at(most, both // labels, np.minimum(sizes, finer.room_of_free[both % labels]))
    return bool((most <= outer.room).all())
