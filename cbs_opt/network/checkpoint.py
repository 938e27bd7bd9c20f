"""Writes a pruned network and its masks, under the names of the network's own tensors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.files import write_whole
from cbs_opt.network.weights import Weights

if TYPE_CHECKING:
    import torch


def tensor_masks(weights: Weights) -> dict[str, Mask]:
    """The mask of each target in its tensor's own shape, by the tensor's name; 1 keeps."""
    masks = weights.masks()
    return {
        t.tensor: np.ascontiguousarray(masks[t.name].T if t.kind == "conv1d" else masks[t.name].reshape(t.shape))
        for t in weights.targets
    }


def save_network(model: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Write all tensors of the network under their own names, as .safetensors, whole or not at all."""
    from safetensors.torch import save

    require_safetensors(path)
    state = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    write_whole(path, lambda stream: stream.write(save(state)))


def save_masks(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Write the masks (booleans, 1 keeps) under the names of the pruned tensors, as .safetensors."""
    from safetensors.numpy import save

    require_safetensors(path)
    masks = tensor_masks(weights)
    write_whole(path, lambda stream: stream.write(save(masks)))


def require_safetensors(path: str | os.PathLike[str]) -> None:
    """Raise if the suffix of the file is not .safetensors."""
    if not str(path).lower().endswith(".safetensors"):
        raise InputError(f"{path}: networks and their masks are written as .safetensors; give the file that suffix")


def state_digest(model: torch.nn.Module) -> str:
    """SHA-256, in hex, of the network's tensors: names, types, shapes and values."""
    return tensors_digest(sorted(model.state_dict().items()))


def tensors_digest(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """SHA-256, in hex, of named tensors in their order: names, types, shapes and values."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
