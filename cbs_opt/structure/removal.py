"""In what order the units of a set are removed, and what the loss is after each, the layers that read them re-tuned.

Removing the units P takes the columns P of the weights W of every layer that reads them. Re-tuned, the layers lose

    f(P) = Σ_layers ½ Σ_r S_r w_r,Pᵀ [(H⁻¹)_PP]⁻¹ w_r,P,

jointly, not unit by unit: H is the layer's Gram, S_r how much the network's outputs feel its output r. Greedily, the
unit of least increase goes next; increase and update are those of the Optimal Brain Surgeon for a group of columns,

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
    """A set with ever fewer units.

    Parameters
    ----------
    order : int array, shape (units,)
        The units as they are removed, first to last; the last is never removed.
    losses : array, shape (units,)
        f after 0, 1, …, units − 1 of them.
    """

    order: NDArray[np.int64]
    losses: Vector

    def kept(self, count: int) -> NDArray[np.int64]:
        """The units left where ``count`` are kept, ascending."""
        return np.sort(self.order[len(self.order) - count :])


def columns_of(target: Target, part: Slices) -> NDArray[np.int64]:
    """The columns of the layer's matrix (out, in) that belong to each unit, shape (units, columns a unit)."""
    each = target.inputs // target.shape[0 if target.kind == "conv1d" else 1]
    return (part.positions[:, :, None] * each + np.arange(each)).reshape(len(part.positions), -1)


class Reader:
    """A layer that reads the units of a set, as units are taken from it.

    Parameters
    ----------
    layer : LayerModel
        Its Gram in the dense network (one group).
    felt : array, shape (out,)
        S_r.
    columns : int array, shape (units, columns a unit)
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
        """By how much f grows where each of these units goes next, shape (units,)."""
        columns = self._columns[units]
        blocks = self._inverse[columns[:, :, None], columns[:, None, :]]
        W = self._weights[:, columns].transpose(1, 2, 0)  # (units, columns, out)
        return 0.5 * np.einsum("ucr,ucr->u", W, np.linalg.solve(blocks, W))

    def remove(self, unit: int) -> None:
        """Take a unit out, and re-tune the other columns."""
        columns = self._columns[unit]
        block = self._inverse[np.ix_(columns, columns)]
        rows = np.linalg.solve(block, self._inverse[columns])
        self._weights = self._weights - self._weights[:, columns] @ rows
        self._inverse = self._inverse - self._inverse[:, columns] @ rows
        self._weights[:, columns] = 0.0
        # Never asked for again; the identity keeps the block regular.
        self._inverse[columns], self._inverse[:, columns] = 0.0, 0.0
        self._inverse[columns, columns] = 1.0


def trace(readers: Sequence[Reader], units: int, order: NDArray[np.int64] | None = None) -> Trace:
    """The greedy trace of a set, or that of a given order, whose readers are used up.

    Parameters
    ----------
    readers : sequence of Reader
        All layers that read its units.
    units : int
    order : int array, shape (units,), optional
        The units as they are to be removed.
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
    """The norm of all weights that make each unit of a set, shape (units,)."""
    square = np.zeros(coupled.units)
    for part in coupled.slices:
        weight = model.state_dict()[part.tensor]
        if not part.reads and weight.ndim > 1:
            rows = weight.detach().double().movedim(part.dim, 0).flatten(1).square().sum(dim=1).cpu().numpy()
            square += rows[part.positions].sum(axis=1)
    return np.sqrt(square)
