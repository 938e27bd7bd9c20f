"""A smaller network on disk: its tensors, and which positions of the dense network's tensors were removed.

Nothing in the folder is executed: the modules are those of a dense network that the caller builds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.errors import InputError
from cbs_opt.kernel.files import prepare_folder, write_whole
from cbs_opt.network.checkpoint import save_network
from cbs_opt.network.load import fill, load_tensors
from cbs_opt.structure.channels import Axis, Positions
from cbs_opt.structure.rebuild import small

if TYPE_CHECKING:
    import torch

TENSORS, STRUCTURE = "model.safetensors", "structure.json"
FORMAT = 1


def save(
    model: torch.nn.Module,
    dense: torch.nn.Module,
    removed: Mapping[Axis, Positions],
    report: Mapping[str, Any],
    folder: str | os.PathLike[str],
) -> None:
    """Write the small network's tensors, and which positions were removed from each tensor of the dense one.

    Parameters
    ----------
    model : torch.nn.Module
        The small network.
    dense : torch.nn.Module
        Any network with the shapes of the dense one.
    removed : mapping of (tensor, dimension) to positions
        What was removed.
    report : mapping
        Plain data that is stored in ``structure.json`` for people to read; ``load_shrunk`` ignores it.
    folder : path
        Where to write; made if it is not there.
    """
    target = prepare_folder(folder)
    shapes = {name: tuple(tensor.shape) for name, tensor in dense.state_dict().items()}
    told = {
        "format": FORMAT,
        "removed": [
            {"tensor": tensor, "shape": shapes[tensor], "dim": dim, "positions": positions.tolist()}
            for (tensor, dim), positions in removed.items()
        ],
        "report": dict(report),
    }
    save_network(model, target / TENSORS)
    write_whole(target / STRUCTURE, lambda stream: stream.write(json.dumps(told, indent=1).encode()))


def load_shrunk(model: torch.nn.Module, folder: str | os.PathLike[str]) -> torch.nn.Module:
    """The small network of a folder that ``Shrunk.save`` wrote, in eval mode.

    Parameters
    ----------
    model : torch.nn.Module
        The dense network, built by the same code as the one that was shrunk. Its weights do not matter, and it is not
        changed.
    folder : path
        The folder that ``Shrunk.save`` was given.

    Raises
    ------
    InputError
        A file is missing or damaged, or it belongs to another network; the message then names the tensor.
    """
    file = Path(folder) / STRUCTURE
    if not file.is_file():
        raise InputError(f"{file}: no such file; give the folder that a shrunk network was saved to")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    removed: dict[Axis, Positions] = {}
    for part in _removed(file):
        tensor, dim = part["tensor"], part["dim"]
        if shapes.get(tensor) != tuple(part["shape"]):
            has = f"has shape {shapes[tensor]}" if tensor in shapes else "is not in the network"
            raise InputError(f"{file}: tensor {tensor} of shape {tuple(part['shape'])} {has}; give the dense network")
        removed[tensor, dim] = np.array(part["positions"], dtype=np.int64)
    result = small(model, removed)
    source = Path(folder) / TENSORS
    fill(result, load_tensors(source), str(source))
    return result.eval()


def _removed(file: Path) -> list[dict[str, Any]]:
    """The entries ``removed`` of the file ``structure.json``, checked for their form."""
    try:
        told = json.loads(file.read_bytes())
        if told["format"] != FORMAT:
            raise InputError(f"{file}: is of format {told['format']}; this version reads {FORMAT}")
        entries = [
            {
                "tensor": str(part["tensor"]),
                "shape": [int(size) for size in part["shape"]],
                "dim": int(part["dim"]),
                "positions": [int(place) for place in part["positions"]],
            }
            for part in told["removed"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: is no record of a shrunk network ({type(error).__name__}: {error})") from None
    return entries
