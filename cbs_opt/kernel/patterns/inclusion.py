"""Whether one pattern lies within another: 2:4 within 4:8, both within half of all weights."""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.patterns.base import Pattern
from cbs_opt.kernel.patterns.forced import forbidden, forced
from cbs_opt.kernel.patterns.labelled import Labelled


def lies_within(inner: Pattern, outer: Pattern) -> bool:
    """Whether it is proven that every mask of ``inner`` is one of ``outer``.

    A lower bound for the pattern ``outer`` then holds for ``inner``, too. It is proven only where ``outer`` forces no
    weight to stay and all its parts are ``Labelled``, and no mask of ``inner`` keeps more weights of a label than that
    label has room for. False means that this is not so, or not known.
    """
    if forced(outer).any() or (forbidden(outer) & ~forbidden(inner)).any():
        return False
    limits = [part.labelled for part in outer.parts]
    known = [limit for limit in limits if limit is not None]
    some = (inner, *inner.parts)  # every mask of inner is a mask of each of its parts
    return len(known) == len(limits) and all(any(_has_room(limit, part) for part in some) for limit in known)


def _has_room(outer: Labelled, inner: Pattern) -> bool:
    """Whether each label of ``outer`` is proven to have room for what any mask of ``inner`` keeps of its weights."""
    if outer.single:
        return inner.most(np.ones(inner.n)) < outer.room[0] + 1
    finer = inner.labelled
    if finer is None:
        return False
    # The labels of a Labelled fill up independently: within one label of outer, each keeps at most its own room.
    free, labels = finer.free, len(finer.room)
    both, sizes = np.unique(outer.labels[free] * labels + finer.labels[free], return_counts=True)
    most = outer.count(finer.keep)
    np.add.at(most, both // labels, np.minimum(sizes, finer.room_of_free[both % labels]))
    return bool((most <= outer.room).all())
