"""The prunable weights of a network as one long vector, layer after layer, each as a matrix (out, in)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
        In the order of the vectors.
    values : array, shape (n,)
        Each target's matrix (out, in), row by row.
    mask : boolean array, shape (n,)
        1 keeps. Where it is 0 the value is 0.
    """

    targets: tuple[Target, ...]
    values: Vector
    mask: Mask

    @classmethod
    def of(cls, model: torch.nn.Module, targets: Sequence[Target]) -> Weights:
        """The weights as they stand in the network; all of them kept.

        Raises
        ------
        InputError
            A weight that is NaN or infinite (names the tensor).
        """
        parts = []
        for target in targets:
            matrix = target.matrix(model.get_parameter(target.tensor).detach()).double().cpu().numpy()
            if not np.isfinite(matrix).all():
                raise InputError(f"{target.tensor}: holds NaN or infinity; all weights must be finite")
            parts.append(matrix.ravel())
        values = np.concatenate(parts)
        return cls(tuple(targets), values, np.ones(len(values), dtype=np.bool_))

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.values)

    @property
    def pruned(self) -> int:
        """Number of zeros in the mask."""
        return self.n - int(self.mask.sum())

    def parts(self) -> Iterator[tuple[Target, slice]]:
        """Each target and where its weights stand."""
        start = 0
        for target in self.targets:
            yield target, slice(start, start + target.numel)
            start += target.numel

    def with_values(self, values: Vector, mask: Mask) -> Weights:
        """The same targets with other weights."""
        return Weights(self.targets, values, mask)

    def without_zeros(self) -> Weights:
        """The same weights, of which those that are exactly zero count as pruned."""
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
