"""A problem in parts that do not interact, with its weights in units that are kept or pruned together.

Blocks of a curvature do not interact, and neither do the rows of a layer. Rows that share their curvature and whose
weights belong, place by place, to the same units always keep the same places. They are one part with several vectors of
weights, and one inverse serves all of them: so it is for all rows of a layer whose columns are pruned. Weights are
measured in units of 1/√H_ii.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.forced import forced
from cbs_opt.solvers.forms.unit_diagonal import unit_diagonal

Places = NDArray[np.int64]

STAYS, GONE = -1, -2
"""Marks in the place of a unit, for a weight that is kept whatever happens, and for one that is pruned."""


class SameSize(NamedTuple):
    """The units of a part that have the same number of weights in it.

    Parameters
    ----------
    number : integer array, shape (c,)
        The units, by their places in the part's ``names``.
    places : integer array, shape (c, a)
        The places of the a weights of each unit.
    """

    number: Places
    places: Places


@dataclass(frozen=True, eq=False)
class Part:
    """R rows of d weights under one curvature.

    Parameters
    ----------
    U : array, shape (d, d)
        The curvature, scaled to unit diagonal.
    target : array, shape (d, R)
        The unconstrained minimizer of every row, in the units of U.
    weights : integer array, shape (R, d)
        Which weights of the problem these are.
    units : integer array, shape (d,)
        The unit of each place, or ``STAYS``, or ``GONE``.
    """

    U: Matrix
    target: Matrix
    weights: Places
    units: Places

    @cached_property
    def names(self) -> Places:
        """The units that have weights here, ascending."""
        return np.unique(self.units[self.units >= 0])

    @cached_property
    def sizes(self) -> list[SameSize]:
        """The units ``names``, grouped by how many weights they have in this part."""
        open_places = np.flatnonzero(self.units >= 0)
        open_places = open_places[np.argsort(self.units[open_places], kind="stable")]
        number = np.searchsorted(self.names, self.units[open_places])
        counts = np.bincount(number, minlength=len(self.names))
        starts = np.cumsum(counts) - counts
        found = []
        for a in np.unique(counts):
            of_size = np.flatnonzero(counts == a)
            found.append(SameSize(of_size, open_places[starts[of_size][:, None] + np.arange(a)]))
        return found

    def places_of(self, unit: int) -> Places:
        """The places of the weights of one unit; empty where it has none in this part."""
        return np.flatnonzero(self.units == unit)


def pieces_of(curvature: Curvature) -> list[tuple[int, Matrix]]:
    """The blocks of a curvature, in the order of the weights: how many rows share each, and its H for one row."""
    return [(block.rows, block.row.dense()) for block in curvature.blocks]


def parts_of(pieces: Sequence[tuple[int, Matrix]], center: Vector, units: Places) -> list[Part]:
    """The parts of a problem.

    Parameters
    ----------
    pieces : sequence of (rows, H)
        The blocks of the curvature, as ``pieces_of`` returns them.
    center : array, shape (n,)
        The unconstrained minimizer H⁻¹b.
    units : integer array, shape (n,)
        The unit of each weight, or ``STAYS``, or ``GONE``.
    """
    scaled = {id(H): unit_diagonal(H) for _, H in pieces}
    parts, start = [], 0
    for rows, H in pieces:
        U, scale = scaled[id(H)]
        weights = np.arange(start, start + rows * len(H)).reshape(rows, len(H))
        start += weights.size
        of_rows = units[weights]
        same: dict[bytes, list[int]] = {}  # rows with the same units, in the order of the first of them
        for row, of_row in enumerate(of_rows):
            same.setdefault(of_row.tobytes(), []).append(row)
        for members in same.values():
            alike = weights[members]
            parts.append(Part(U, np.ascontiguousarray((center[alike] * scale).T), alike, of_rows[members[0]]))
    return parts


def undecided(pattern: Pattern, kept: Mask) -> Places:
    """The unit of each weight that is free and ``kept``, ``STAYS`` where it is forced to stay, ``GONE`` elsewhere."""
    return np.where(pattern.free & kept, pattern.units, np.where(forced(pattern), STAYS, GONE))
