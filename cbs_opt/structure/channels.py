"""Units, the least that can be removed from a network, and coupled sets of them, with their places in its tensors.

A *unit* is the least that can be removed so that all shapes still fit: for instance a filter with its batch
normalization and the input channel of every layer that reads it, a neuron, a head of attention with its queries, keys
and values, or a group of a grouped convolution. A *coupled set* consists of all units that lie in the same tensors,
like the channels of a residual stream. Any number of them can be kept, down to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]

Axis = tuple[str, int]
"""A tensor of the network by its name in ``state_dict()``, and one of its dimensions."""


@dataclass(frozen=True, eq=False)
class Slices:
    """The places of a set's units in one dimension of one tensor.

    Parameters
    ----------
    tensor : str
        The name of the tensor in ``state_dict()``.
    dim : int
        The dimension.
    positions : int array, shape (units, k)
        The positions in this dimension that are removed with each unit. k is 1 for the row of a filter, and 9 where a
        layer reads a flattened 3×3 map of it.
    reads : bool
        Whether the tensor is the weight of a linear layer or convolution and ``dim`` its inputs, so that the layer
        computes with the units.
    """

    tensor: str
    dim: int
    positions: Positions
    reads: bool

    @property
    def axis(self) -> Axis:
        """The tensor and the dimension."""
        return self.tensor, self.dim


@dataclass(frozen=True, eq=False)
class CoupledSet:
    """A coupled set of units; each unit can be removed by itself, and then from all slices at once.

    Parameters
    ----------
    name : str
        The first module of the network that computes the units.
    slices : tuple of Slices
        All places of the units.
    """

    name: str
    slices: tuple[Slices, ...]

    @property
    def units(self) -> int:
        """The number of units."""
        return len(self.slices[0].positions)

    @property
    def readers(self) -> tuple[Slices, ...]:
        """The slices of the layers that compute with the units."""
        return tuple(part for part in self.slices if part.reads)


def removed_positions(sets: Sequence[CoupledSet], kept: Sequence[Iterable[int]]) -> dict[Axis, Positions]:
    """The positions that are removed from each dimension of each tensor where only the units ``kept`` of each set stay.

    They are ascending; dimensions that lose nothing are left out.
    """
    gone: dict[Axis, list[Positions]] = {}
    for coupled, units in zip(sets, kept, strict=True):
        out = np.ones(coupled.units, dtype=np.bool_)
        out[list(units)] = False
        if out.any():
            for part in coupled.slices:
                gone.setdefault(part.axis, []).append(part.positions[out].ravel())
    return {axis: np.sort(np.concatenate(parts)) for axis, parts in gone.items()}


def removed_in(removed: Mapping[Axis, Positions], tensor: str) -> dict[int, Positions]:
    """The positions that are removed from one tensor, by dimension."""
    return {dim: positions for (name, dim), positions in removed.items() if name == tensor}
