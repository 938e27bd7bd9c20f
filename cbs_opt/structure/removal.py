"""The order in which the units of a set are removed, and the loss after each, with the layers that read them re-tuned.

Removing the units P removes the columns P from the weights W of every layer that reads them. With their other columns
re-tuned, the loss of these layers is

    f(P) = Σ_layers ½ Σ_r S_r w_r,Pᵀ [(H⁻¹)_PP]⁻¹ w_r,P,

for all units of P together, where H is the Gram matrix of the layer's inputs and S_r how sensitive the network's
outputs are to output r of the layer. The greedy order removes the unit with the least increase next. Increase and
update are those of the Optimal Brain Surgeon for a group of columns,

    W ← W − W_u [(H⁻¹)_uu]⁻¹ (H⁻¹)_u·,   H⁻¹ ← H⁻¹ − (H⁻¹)_·u [(H⁻¹)_uu]⁻¹ (H⁻¹)_u·,

so that the sum of increases is f(P) exactly (Hassibi & Stork, NIPS 1992; for groups Kurtić et al., EMNLP 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect.layer_model import LayerModel
from cbs_opt.errors import NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.network.targets import Target
from cbs_opt.structure.channels import CoupledSet, Slices

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Trace:
    """The order in which the units of a set are removed, and the loss after each.

    Parameters
    ----------
    order : int array, shape (units,)
        The units in the order in which they are removed; the last one is never removed.
    losses : array, shape (units,)
        f after 0, 1, …, units − 1 units are removed.
    """

    order: NDArray[np.int64]
    losses: Vector

    def kept(self, count: int) -> NDArray[np.int64]:
        """The units that are left where ``count`` of them are kept, ascending."""
        return np.sort(self.order[len(self.order) - count :])


def columns_of(target: Target, part: Slices) -> NDArray[np.int64]:
    """The columns of the layer's matrix (out, in) that belong to each unit, shape (units, columns a unit)."""
    each = target.inputs // target.shape[0 if target.kind == "conv1d" else 1]
    return (part.positions[:, :, None] * each + np.arange(each)).reshape(len(part.positions), -1)


class Reader:
    """A layer that reads the units of a set, while one unit after the other is removed.

    Parameters
    ----------
    layer : LayerModel
        The layer with the Gram matrix of its inputs in the dense network (one group).
    felt : array, shape (out,)
        S_r, how sensitive the network's outputs are to each output of the layer.
    columns : int array, shape (units, columns a unit)
        The columns of the layer's weights that belong to each unit.
    """

    def __init__(self, layer: LayerModel, felt: Vector, columns: NDArray[np.int64]) -> None:
        H = layer.H[0]
        try:
            root = np.linalg.inv(np.linalg.cholesky(H))
        except np.linalg.LinAlgError:
            raise NotPositiveDefiniteError(
                f"layer {layer.name}: its Gram is not positive definite; give a larger dampening_frac", 0.0
            ) from None
        self._inverse: Matrix = root.T @ root
        self._weights: Matrix = layer.w_bar * np.sqrt(felt)[:, None]
        self._columns = columns

    def increases(self, units: NDArray[np.int64]) -> Vector:
        """By how much f grows if each of these units is removed next, shape (units,)."""
        columns = self._columns[units]
        blocks = self._inverse[columns[:, :, None], columns[:, None, :]]
        W = self._weights[:, columns].transpose(1, 2, 0)  # (units, columns, out)
        return 0.5 * np.einsum("ucr,ucr->u", W, np.linalg.solve(blocks, W))

    def remove(self, unit: int) -> None:
        """Remove a unit, and re-tune the columns of the others."""
        columns = self._columns[unit]
        block = self._inverse[np.ix_(columns, columns)]
        rows = np.linalg.solve(block, self._inverse[columns])
        self._weights = self._weights - self._weights[:, columns] @ rows
        self._inverse = self._inverse - self._inverse[:, columns] @ rows
        self._weights[:, columns] = 0.0
        # These columns are not used again; the identity keeps the matrix regular.
        self._inverse[columns], self._inverse[:, columns] = 0.0, 0.0
        self._inverse[columns, columns] = 1.0


def trace(readers: Sequence[Reader], units: int, order: NDArray[np.int64] | None = None) -> Trace:
    """The ``Trace`` of a set, in the greedy order or in a given one.

    Parameters
    ----------
    readers : sequence of Reader
        All layers that read the set's units; they are changed, and cannot be used again.
    units : int
        The number of units.
    order : int array, shape (units,), optional
        The order in which the units are removed; greedy if left out.
    """
    left = np.arange(units)
    losses, found = [0.0], list[int]()
    while len(left) > 1:
        candidates = left if order is None else order[len(found) : len(found) + 1]
        increases = np.sum([reader.increases(candidates) for reader in readers], axis=0)
        best = int(np.argmin(increases))
        unit = int(candidates[best])
        for reader in readers:
            reader.remove(unit)
        losses.append(losses[-1] + max(0.0, float(increases[best])))
        found.append(unit)
        left = left[left != unit]
    return Trace(np.array([*found, int(left[0])], dtype=np.int64), np.array(losses))


def norms(model: torch.nn.Module, coupled: CoupledSet) -> Vector:
    """For each unit of a set, the norm of all weights that compute it, shape (units,)."""
    square = np.zeros(coupled.units)
    for part in coupled.slices:
        weight = model.state_dict()[part.tensor]
        if not part.reads and weight.ndim > 1:
            rows = weight.detach().double().movedim(part.dim, 0).flatten(1).square().sum(dim=1).cpu().numpy()
            square += rows[part.positions].sum(axis=1)
    return np.sqrt(square)
