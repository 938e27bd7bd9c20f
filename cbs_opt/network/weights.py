"""The prunable weights of a network as one long vector, layer after layer, each as a matrix (out, in)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights and mask of all targets.

    Parameters
    ----------
    targets : tuple of Target
        The targets in the order of their weights in the vectors.
    values : array, shape (n,)
        The weights: each target's matrix (out, in), row by row; float64, or float32 if the network holds no more
        digits.
    mask : boolean array, shape (n,)
        1 keeps; where it is 0, the value is 0.
    """

    targets: tuple[Target, ...]
    values: NDArray[Any]
    mask: Mask

    @classmethod
    def of(cls, model: torch.nn.Module, targets: Sequence[Target]) -> Weights:
        """The weights that the network has; all of them are kept.

        Raises
        ------
        InputError
            A weight is NaN or infinite (names the tensor).
        """
        import torch

        parameters = [model.get_parameter(target.tensor).detach() for target in targets]
        single = all(parameter.element_size() <= torch.float32.itemsize for parameter in parameters)
        values = np.empty(sum(target.numel for target in targets), dtype=np.float32 if single else np.float64)
        found = cls(tuple(targets), values, np.ones(len(values), dtype=np.bool_))
        for (target, part), parameter in zip(found.parts(), parameters, strict=True):
            matrix = target.matrix(parameter).to(torch.float32 if single else torch.float64).cpu().numpy()
            if not np.isfinite(matrix).all():
                raise InputError(f"{target.tensor}: holds NaN or infinity; all weights must be finite")
            values[part] = matrix.ravel()
        return found

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.values)

    @property
    def pruned(self) -> int:
        """Number of zeros in the mask."""
        return self.n - int(self.mask.sum())

    def parts(self) -> Iterator[tuple[Target, slice]]:
        """Each target, with the slice of its weights in the vectors."""
        start = 0
        for target in self.targets:
            yield target, slice(start, start + target.numel)
            start += target.numel

    def with_values(self, values: Vector, mask: Mask) -> Weights:
        """The same targets with other weights and another mask."""
        return Weights(self.targets, values, mask)

    def without_zeros(self) -> Weights:
        """The same weights, with those that are exactly zero counted as pruned."""
        return Weights(self.targets, self.values, self.mask & (self.values != 0))

    def matrices(self) -> dict[str, Matrix]:
        """The weights (out, in) of each target, by module name."""
        return {t.name: self.values[part].reshape(t.outputs, t.inputs) for t, part in self.parts()}

    def masks(self) -> dict[str, Mask]:
        """The mask (out, in) of each target, by module name."""
        return {t.name: self.mask[part].reshape(t.outputs, t.inputs) for t, part in self.parts()}

    def into(self, model: torch.nn.Module) -> torch.nn.Module:
        """A copy of the network with these weights, rounded to its precision; zeros stay exactly zero."""
        import torch

        result = copy.deepcopy(model)
        with torch.no_grad():
            for target, part in self.parts():
                matrix = torch.from_numpy(self.values[part].reshape(target.outputs, target.inputs))
                result.get_parameter(target.tensor).copy_(target.weight(matrix))
        return result
