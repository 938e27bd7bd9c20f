"""Numbers for channels, and which of them are tied together.

Every position along a dimension of a weight that belongs to channels gets a number. Two numbers that must be removed
together are tied by an edge, and in the end the connected components are the units. The number ``STAYS`` stands for
everything that is never removed; a unit that is tied to it stays, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.structure.channels import Axis

if TYPE_CHECKING:
    import torch

STAYS = 0


class Numbering:
    """The numbers of all axes that were met so far, and their ties.

    A *number tensor* has the shape of an activation, and each entry is the number of the channel that the entry of the
    activation belongs to. Dimensions along which the number does not change have stride 0 (``compact``), so that few
    ties are needed however large the activation is.

    Attributes
    ----------
    axes : dict of axis to int array
        For each axis, the number of each position.
    read : set of axis
        The input axes of the layers that compute with channels.
    mixers : list of (node, number)
        Operations that mix different channels, so that these can only be removed together, and one of the channels.
    """

    def __init__(self) -> None:
        self.axes: dict[Axis, NDArray[np.int64]] = {}
        self.read: set[Axis] = set()
        self.mixers: list[tuple[str, int]] = []
        self._count = STAYS + 1
        self._edges: list[NDArray[np.int64]] = []
        self._later: list[tuple[torch.Tensor, torch.Tensor, int]] = []

    def axis(self, tensor: str, dim: int, size: int) -> torch.Tensor:
        """The numbers of an axis, shape (size,), new ones if it has none yet; a single position gets ``STAYS``."""
        import torch

        if (tensor, dim) not in self.axes:
            fresh = np.arange(self._count, self._count + size) if size > 1 else np.array([STAYS])
            self.axes[tensor, dim] = fresh
            self._count += size
        return torch.from_numpy(self.axes[tensor, dim])

    def tie(self, a: torch.Tensor, b: torch.Tensor) -> None:
        """Tie two number tensors entry by entry, with broadcasting."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        a, b = a.expand(shape), b.expand(shape)
        for dim in range(a.ndim):
            if a.shape[dim] > 1 and a.stride(dim) == 0 and b.stride(dim) == 0:
                a, b = a.narrow(dim, 0, 1), b.narrow(dim, 0, 1)
        pairs = np.stack([a.reshape(-1).numpy(), b.reshape(-1).numpy()])
        self._edges.append(np.unique(pairs[:, pairs[0] != pairs[1]], axis=1))

    def stay(self, a: torch.Tensor) -> None:
        """Tie these numbers to ``STAYS``, so that their channels are never removed."""
        import torch

        self.tie(a, torch.tensor(STAYS))

    def tie_along(self, a: torch.Tensor, dims: tuple[int, ...], node: str = "") -> torch.Tensor:
        """Tie all entries that differ only in these dimensions; returns ``a`` with these dimensions cut to size 1.

        ``node`` is the operation that mixes them, or empty.
        """
        first = a
        for dim in dims:
            first = first.narrow(dim, 0, 1)
        different = a != first
        if bool(different.any()):
            self.tie(a, first)
            if node:
                self.mixers.append((node, int(a[different][0])))
        return first

    def along(self, a: torch.Tensor, dim: int) -> torch.Tensor:
        """One number for each position of dimension ``dim``, shape (size,), after tying all along the others."""
        dim %= a.ndim
        others = tuple(other for other in range(a.ndim) if other != dim)
        return self.tie_along(a, others).reshape(-1)

    def later(self, numbers: torch.Tensor, a: torch.Tensor, dim: int) -> None:
        """Tie the dimension ``dim`` < 0 of ``a`` to the numbers of a parameter, once all other ties are known.

        If it turns out that all positions along this dimension belong to the same unit, the parameter stays instead.
        For instance, the scale of a normalization within each head is shared by all heads, and stays when one is
        removed.
        """
        self._later.append((numbers.reshape(-1, *[1] * (-dim - 1)), a, dim))

    def components(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The unit of each number, shape (numbers,), and which units stay, shape (units,)."""
        unit_of, stay = self._connected()
        for numbers, a, dim in self._later:
            units = np.where(stay[unit_of], -1, unit_of)[a.numpy()]
            if (units != units.take([0], axis=dim)).any():
                self.tie(a, numbers)
                unit_of, stay = self._connected()
            else:
                self.stay(numbers)
        return self._connected() if self._later else (unit_of, stay)

    def _connected(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        edges = np.concatenate([np.empty((2, 0), dtype=np.int64), *self._edges], axis=1)
        staying = (edges == STAYS).any(axis=0)
        rows, columns = edges[:, ~staying]
        graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(self._count, self._count))
        count, unit_of = connected_components(graph, directed=False)
        stay = np.zeros(count, dtype=np.bool_)
        stay[unit_of[edges[:, staying]]] = True
        stay[unit_of[STAYS]] = True
        return unit_of.astype(np.int64), stay


def compact(a: torch.Tensor) -> torch.Tensor:
    """``a`` with stride 0 in every dimension along which its numbers do not change."""
    first = a
    for dim in range(a.ndim):
        if a.shape[dim] > 1 and (first.stride(dim) == 0 or bool((first == first.narrow(dim, 0, 1)).all())):
            first = first.narrow(dim, 0, 1)
    return first.expand(a.shape)


def positions_of(numbers: NDArray[np.int64], unit_of: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each unit with a position on an axis, and its positions there."""
    units = unit_of[numbers]
    order = np.argsort(units, kind="stable")
    bounds = np.flatnonzero(np.diff(units[order])) + 1
    for part in np.split(order, bounds):
        yield int(units[part[0]]), part
