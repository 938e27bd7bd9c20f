"""Loads networks by name, and their weights from files."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.errors import InputError, did_you_mean, unknown_name
from cbs_opt.network.hugging_face import folder_of, load_model
from cbs_opt.network.reference import NETWORKS

if TYPE_CHECKING:
    import torch

log = logging.getLogger("cbs_opt")

ORIGINAL, MASK = "_orig", "_mask"
"""The suffixes that torch.nn.utils.prune gives to the two tensors into which it splits a weight."""


def load_network(name: str, weights: str | os.PathLike[str] | None = None) -> torch.nn.Module:
    """A network with its weights, in eval mode.

    Parameters
    ----------
    name : str
        One of ``NETWORKS``; ``hf:FOLDER``, a model of the transformers library (``hugging_face``); or
        ``module:factory``: the module is imported from the current folder (or from wherever Python finds it) and
        ``factory()`` is called. **That runs the module's code.**
    weights : path, optional
        ``.safetensors``, ``.npz`` or ``.pt``/``.pth``/``.bin`` (``torch.load(weights_only=True)``). Left out:
        the embedded weights of a named network, or those that the factory sets.

    Raises
    ------
    UnknownMethodError
        There is no network of that name.
    InputError
        The weights file cannot be read, or does not fit the network (names the tensors).
    """
    folder = folder_of(name)
    if folder is not None:
        if weights is not None:
            raise InputError(f"network {name}: has its weights in the folder; leave the weights file out")
        return load_model(folder)
    if ":" in name:
        model, own = _from_factory(name), True
    elif name in NETWORKS:
        model, own = NETWORKS[name].build(), NETWORKS[name].weights is not None
    else:
        raise unknown_name("network", name, [*NETWORKS, "module:factory of your own"])
    if weights is not None:
        fill(model, load_tensors(weights), str(weights))
    elif not own:
        raise InputError(f"network {name}: has no embedded weights; give a weights file")
    elif ":" in name:
        log.warning("network %s: no weights file is given; it keeps the weights that its factory sets", name)
    elif name in NETWORKS:
        embedded = NETWORKS[name].weights
        assert embedded is not None
        fill(model, embedded(), f"the embedded weights of {name}")
    return model.eval()


def load_tensors(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Tensors by name from a ``.safetensors``, ``.npz`` or torch file; nothing pickled is ever executed.

    A torch file may be a training checkpoint that holds the weights under ``state_dict``, ``model_state_dict`` or
    ``model``; the prefix ``module.`` that DataParallel puts before every name is taken off. Weights that
    torch.nn.utils.prune has masked are read as such (see ``with_masks_applied``).
    """
    return with_masks_applied(stored_tensors(path), str(path))


def with_masks_applied(tensors: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """The tensors of a network, with the masks of torch.nn.utils.prune multiplied into their weights.

    ``fc.weight_orig`` and ``fc.weight_mask`` become ``fc.weight``, their product, as in the network's forward pass.

    Raises
    ------
    InputError
        A mask has another shape or other values than 0 and 1, or there is a tensor ``fc.weight``, too, that is not the
        product (names ``source``).
    """
    import torch

    found = dict(tensors)
    for name in masked_names(tensors):
        original, mask = (torch.as_tensor(found.pop(f"{name}{part}")) for part in (ORIGINAL, MASK))
        if mask.shape != original.shape or not bool(((mask == 0) | (mask == 1)).all()):
            raise InputError(
                f"{source}: {name}{MASK} is no mask of {name}{ORIGINAL}; zeros and ones in the shape "
                f"{tuple(original.shape)} are needed"
            )
        product = original * mask.to(original.dtype)
        if name in found and not torch.equal(found[name], product):
            raise InputError(
                f"{source}: {name} is not {name}{ORIGINAL} times {name}{MASK}; leave out what does not "
                "belong to the network"
            )
        found[name] = product
    return found


def masked_names(tensors: Mapping[str, Any]) -> list[str]:
    """The names of the weights that torch.nn.utils.prune has split into an original and a mask."""
    bases = [name.removesuffix(ORIGINAL) for name in tensors if name.endswith(ORIGINAL)]
    return [name for name in bases if f"{name}{MASK}" in tensors]


def stored_tensors(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The tensors of a file as they are; see ``load_tensors``."""
    import torch

    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as archive:
                return {name: torch.from_numpy(archive[name]) for name in archive.files}
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader raises its own kinds, some of them plain Exception
        raise InputError(
            f"{file}: cannot be read as network weights ({type(error).__name__}); write a .safetensors, an .npz of "
            "plain arrays or torch.save(model.state_dict(), …); pickled objects are never loaded"
        ) from error
    if isinstance(loaded, Mapping):
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(loaded.get(key), Mapping):
                loaded = loaded[key]
                break
    if not isinstance(loaded, Mapping) or not all(isinstance(t, torch.Tensor) for t in loaded.values()):
        raise InputError(f"{file}: does not hold tensors by name; save model.state_dict()")
    parallel = bool(loaded) and all(str(name).startswith("module.") for name in loaded)
    return {str(name).removeprefix("module.") if parallel else str(name): loaded[name] for name in loaded}


def _from_factory(name: str) -> torch.nn.Module:
    import torch

    module_name, _, factory_name = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        model = getattr(importlib.import_module(module_name), factory_name)()
    except Exception as error:  # the user's own code may raise anything
        raise InputError(
            f"network {name}: cannot be made ({type(error).__name__}: {error}); "
            f"{_meant(module_name, factory_name, error)}give module:factory with a function that takes no arguments"
        ) from error
    finally:
        sys.path.remove(os.getcwd())
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"network {name}: the factory returned {type(model).__name__}; a torch.nn.Module is needed")
    return model


def _meant(module_name: str, factory_name: str, error: Exception) -> str:
    """A suggestion where the name of the module or that of the factory is misspelt; '' where both are there."""
    if isinstance(error, ModuleNotFoundError) and error.name == module_name:
        return did_you_mean(module_name, (file.stem for file in Path().glob("*.py")))
    module = sys.modules.get(module_name)
    if module is None or hasattr(module, factory_name):
        return ""
    return did_you_mean(factory_name, (name for name, value in vars(module).items() if callable(value)))


def fill(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Copy tensors into the model; the two must have the same names and shapes."""
    wanted = model.state_dict()
    trouble = [f"{name} is missing" for name in wanted if name not in tensors]
    trouble += [f"{name} has no place in the network" for name in tensors if name not in wanted]
    for name in wanted.keys() & tensors.keys():
        if wanted[name].shape != tensors[name].shape:
            trouble.append(f"{name} has shape {tuple(tensors[name].shape)} instead of {tuple(wanted[name].shape)}")
    if trouble:
        shown = "; ".join(sorted(trouble)[:4]) + (f"; and {len(trouble) - 4} more" if len(trouble) > 4 else "")
        raise InputError(f"{source}: does not fit the network: {shown}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"{source}: {name} holds NaN or infinity; all weights must be finite")
    model.load_state_dict(dict(tensors))
