"""The blocks of a network: what its designer put into a list, like the decoder blocks of a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def block_of(model: torch.nn.Module, name: str) -> str:
    """The block that the module ``name`` stands in, by its name in ``named_modules()``.

    That is the entry of the outermost ``ModuleList`` or ``Sequential`` it stands in ('model.layers.3' for
    'model.layers.3.mlp.up_proj'); what stands in none is a block of its own.
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
    """The names of all entries of outermost lists, in the order of ``named_modules()``; none is inside another."""
    import torch

    def found(parent: torch.nn.Module, path: str) -> list[str]:
        listed = isinstance(parent, (torch.nn.ModuleList, torch.nn.Sequential))
        names = []
        for part, child in parent.named_children():
            name = f"{path}.{part}" if path else part
            names += [name] if listed else found(child, name)
        return names

    return found(model, "")
