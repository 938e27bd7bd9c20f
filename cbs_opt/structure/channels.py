"""Channels that must go together: a coupled set, and where its units stand in the tensors of a network.

A *unit* is the least that can be removed so that all shapes still fit: a filter with its batch normalization and the
input channel of every layer that reads it, a neuron, a head of attention with its queries, keys and values, a group of
a grouped convolution. A *coupled set* is all units that stand in the same tensors, like the channels of a residual
stream; how many of them are kept is free, down to one.
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
    """Where the units of a set stand in one dimension of one tensor.

    Parameters
    ----------
    tensor : str
        Its name in ``state_dict()``.
    dim : int
    positions : int array, shape (units, k)
        Those that go with each unit: k is 1 for a filter's row, 9 where a layer reads a flattened 3×3 map of it.
    reads : bool
        The tensor is the weight of a linear layer or convolution and ``dim`` its inputs: what is computed of the unit.
    """

    tensor: str
    dim: int
    positions: Positions
    reads: bool

    @property
    def axis(self) -> Axis:
        """Tensor and dimension."""
        return self.tensor, self.dim


@dataclass(frozen=True, eq=False)
class CoupledSet:
    """Units that are removed one by one, each from all slices at once.

    Parameters
    ----------
    name : str
        The module that makes them, the first of them in the network.
    slices : tuple of Slices
    """

    name: str
    slices: tuple[Slices, ...]

    @property
    def units(self) -> int:
        """How many units there are."""
        return len(self.slices[0].positions)

    @property
    def readers(self) -> tuple[Slices, ...]:
        """The slices of the layers that compute with the units."""
        return tuple(part for part in self.slices if part.reads)


def removed_positions(sets: Sequence[CoupledSet], kept: Sequence[Iterable[int]]) -> dict[Axis, Positions]:
    """The positions, ascending, that leave each dimension of each tensor where of each set only ``kept`` is kept."""
    gone: dict[Axis, list[Positions]] = {}
    for coupled, units in zip(sets, kept, strict=True):
        out = np.ones(coupled.units, dtype=np.bool_)
        out[list(units)] = False
        if out.any():
            for part in coupled.slices:
                gone.setdefault(part.axis, []).append(part.positions[out].ravel())
    return {axis: np.sort(np.concatenate(parts)) for axis, parts in gone.items()}


def removed_in(removed: Mapping[Axis, Positions], tensor: str) -> dict[int, Positions]:
    """Of these removed positions those of one tensor, by dimension."""
    return {dim: positions for (name, dim), positions in removed.items() if name == tensor}
