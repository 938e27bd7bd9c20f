"""The blocks of a network: the modules that its author put into a list, like the decoder blocks of a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def block_of(model: torch.nn.Module, name: str) -> str:
    """The block that contains the module ``name``, both by their names in ``named_modules()``.

    That is the entry of the outermost ``ModuleList`` or ``Sequential`` around it ('model.layers.3' for
    'model.layers.3.mlp.up_proj'); a module that is in no such list is a block of its own.
    """
    import torch

    parent, path = model, ""
    for part in name.split("."):
        path = f"{path}.{part}" if path else part
        if isinstance(parent, (torch.nn.ModuleList, torch.nn.Sequential)):
            return path
        parent = parent.get_submodule(part)
    return name


def entries(model: torch.nn.Module) -> list[str]:
    """The names of the entries of all outermost lists, in the order of ``named_modules()``; no entry is in another."""
    import torch

    def found(parent: torch.nn.Module, path: str) -> list[str]:
        listed = isinstance(parent, (torch.nn.ModuleList, torch.nn.Sequential))
        names = []
        for part, child in parent.named_children():
            name = f"{path}.{part}" if path else part
            names += [name] if listed else found(child, name)
        return names

    return found(model, "")
