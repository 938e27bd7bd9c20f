"""Copies of a network that take no memory for its parameters."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from cbs_opt.errors import InputError

if TYPE_CHECKING:
    import torch


def sharing_parameters(model: torch.nn.Module) -> torch.nn.Module:
    """A copy of the network with parameters of its own that share the memory of the network's.

    In the copy parameters may be replaced and modules wrapped, and the network stays as it is; but nothing may be
    written into the shared memory. Buffers are copied.

    Raises
    ------
    InputError
        A parameter of a lazy module has no values yet, or a weight is computed from other tensors, as by the masks of
        ``torch.nn.utils.prune``.
    """
    import torch

    memo: dict[int, Any] = {}
    for name, parameter in model.named_parameters():
        if isinstance(parameter, torch.nn.parameter.UninitializedParameter):
            raise InputError(f"model: parameter {name} is of a lazy module and has no values yet; run the network once")
        values = parameter.clone() if parameter.is_inference() else parameter.detach()
        memo[id(parameter)] = torch.nn.Parameter(values, parameter.requires_grad)
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, torch.Tensor) and not value.is_leaf:  # deepcopy refuses it
                raise InputError(
                    f"layer {name}: its {attribute} is no parameter but computed (torch prune, a parametrization); "
                    "make it permanent first, as torch.nn.utils.prune.remove does"
                )
    return copy.deepcopy(model, memo)
