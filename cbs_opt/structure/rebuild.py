"""The network without the removed units, in two forms: masked, with all shapes as before, and small and dense.

Both compute the same outputs. In the masked network all slices of a removed unit are zero, also in the layers that read
it, so that it does not matter what an activation function makes of zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.structure.channels import Axis, Positions, removed_in

if TYPE_CHECKING:
    import torch


def masks(model: torch.nn.Module, removed: Mapping[Axis, Positions]) -> dict[str, Mask]:
    """The masks of all parameters that lose entries, by name and in the parameter's shape; 1 keeps."""
    found: dict[str, Mask] = {}
    for name, parameter in model.named_parameters():
        mask = np.ones(tuple(parameter.shape), dtype=np.bool_)
        for dim, positions in removed_in(removed, name).items():
            mask[(slice(None),) * dim + (positions,)] = False
            found[name] = mask
    return found


def masked(model: torch.nn.Module, removed: Mapping[Axis, Positions]) -> torch.nn.Module:
    """A copy of the network in which everything that is removed is zero."""
    import torch

    result = copy.deepcopy(model)
    with torch.no_grad():
        for name, mask in masks(model, removed).items():
            parameter = result.get_parameter(name)
            parameter.mul_(torch.from_numpy(mask).to(parameter.device))
    return result


def small(model: torch.nn.Module, removed: Mapping[Axis, Positions]) -> torch.nn.Module:
    """A copy of the network with smaller tensors, and with sizes in its modules' attributes to match.

    Raises
    ------
    InputError
        The network does not have one of the tensors, or not these positions, or none would be left.
    """
    result = copy.deepcopy(model)
    names = _names(result)
    before = {name: value for value, own in names.values() for name in own}
    for (tensor, dim), positions in removed.items():
        size = before[tensor].shape[dim] if tensor in before and dim < before[tensor].ndim else 0
        if not 0 < len(np.unique(positions)) < size or positions.min() < 0 or positions.max() >= size:
            raise InputError(
                f"tensor {tensor}: the network has no such positions in dimension {dim} to remove and others to keep"
            )
    cut = {key: _cut(value, removed, own) for key, (value, own) in names.items()}
    for module in result.modules():
        smaller = {
            name: cut[id(value)]
            for name, value in (*module._parameters.items(), *module._buffers.items())
            if value is not None and cut[id(value)] is not value
        }
        for name, value in smaller.items():
            setattr(module, name, value)
        if "weight" in smaller or "running_mean" in smaller:
            shape = tuple(smaller["weight" if "weight" in smaller else "running_mean"].shape)
            for attribute, value_of in SIZES.items():
                if attribute in vars(module):
                    setattr(module, attribute, value_of(module, shape))
    return result


def _names(model: torch.nn.Module) -> dict[int, tuple[torch.Tensor, list[str]]]:
    """Each tensor of the network with all its names, by the ``id`` of the tensor."""
    found: dict[int, tuple[torch.Tensor, list[str]]] = {}
    for name, value in (
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ):
        found.setdefault(id(value), (value, []))[1].append(name)
    return found


def _cut(value: torch.Tensor, removed: Mapping[Axis, Positions], names: list[str]) -> torch.Tensor:
    """The tensor without the removed positions; the tensor itself where nothing is removed."""
    import torch

    rest = value.detach()
    for name in names:
        for dim, positions in removed_in(removed, name).items():
            kept = np.setdiff1d(np.arange(value.shape[dim]), positions)
            rest = rest.index_select(dim, torch.from_numpy(kept).to(rest.device))
    if rest.shape == value.shape:
        return value
    parameter = isinstance(value, torch.nn.Parameter)
    return torch.nn.Parameter(rest, requires_grad=value.requires_grad) if parameter else rest


def _groups(module: Any, shape: tuple[int, ...]) -> int:
    """The new number of groups of a convolution, which loses whole groups; ``out_channels`` is still the old number."""
    return int(module.groups * shape[0] // module.out_channels) if module.groups > 1 else 1


SIZES: Mapping[str, Callable[[Any, tuple[int, ...]], int]] = {
    "groups": _groups,
    "in_channels": lambda module, shape: shape[1] * int(module.groups),
    "out_channels": lambda _, shape: shape[0],
    "out_features": lambda _, shape: shape[0],
    "in_features": lambda _, shape: shape[1],
    "num_features": lambda _, shape: shape[0],
    "num_groups": lambda module, shape: int(module.num_groups * shape[0] // module.num_channels),
    "num_channels": lambda _, shape: shape[0],
    "embedding_dim": lambda _, shape: shape[1],
    "num_parameters": lambda _, shape: shape[0],
    "nx": lambda _, shape: shape[0],
    "nf": lambda _, shape: shape[1],
}
"""The attributes in which modules of torch and transformers hold their sizes, in the order in which they are set, each
with its value for the new shape of the module's weight (or running mean)."""
