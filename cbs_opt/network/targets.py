"""Chooses which weight tensors of a network are pruned, by the names of the modules that hold them.

Prunable are the weights of ``torch.nn.Linear``, ``torch.nn.Conv2d`` and the ``Conv1D`` of Hugging Face transformers
(a linear layer that stores its weight as (in, out)). Each is seen as a matrix (out, in) whose row holds all weights
of one output: in = in_channels/groups · kernel height · kernel width for a convolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError, NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import Matrix
from cbs_opt.network.attention import projection_class

if TYPE_CHECKING:
    import torch

Kind = Literal["linear", "conv2d", "conv1d"]


@dataclass(frozen=True)
class Target:
    """One weight tensor to prune.

    Parameters
    ----------
    name, tensor : str
        The module's name in ``named_modules()``, as 'fc1', and its parameter's in ``named_parameters()``, as
        'fc1.weight'.
    kind : 'linear', 'conv2d' or 'conv1d'
        The kind of layer; 'conv1d' is the linear layer of Hugging Face transformers that stores its weight transposed.
    shape : tuple of int
        The shape of the parameter as it is stored.
    groups : int
        The number of groups of a convolution, 1 for any other layer. The outputs are divided evenly among the groups,
        and each group has inputs of its own.
    """

    name: str
    tensor: str
    kind: Kind
    shape: tuple[int, ...]
    groups: int = 1

    @property
    def outputs(self) -> int:
        """Number of rows of the weight matrix."""
        return self.shape[1] if self.kind == "conv1d" else self.shape[0]

    @property
    def inputs(self) -> int:
        """Number of columns of the weight matrix, which is that of the weights of one output."""
        return prod(self.shape) // self.outputs

    @property
    def places(self) -> int:
        """Number of kernel positions of a convolution, 1 for a linear layer: the weights of an output per channel."""
        return prod(self.shape[2:])

    @property
    def channels(self) -> int:
        """Number of input channels of one output."""
        return self.inputs // self.places

    @property
    def numel(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Inside, an error about a curvature that is not positive definite names this layer."""
        try:
            yield
        except NotPositiveDefiniteError as error:
            error.args = (f"layer {self.name}: {error}", *error.args[1:])
            raise

    def group(self, row: int) -> int:
        """The group that output ``row`` belongs to."""
        return row // (self.outputs // self.groups)

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """The parameter as a matrix (out, in)."""
        return weight.t() if self.kind == "conv1d" else weight.reshape(self.outputs, self.inputs)

    def matrix_in(self, model: torch.nn.Module) -> Matrix:
        """The parameter of ``model`` as a matrix (out, in) in float64, which must not be written to."""
        return self.matrix(model.get_parameter(self.tensor).detach()).double().cpu().numpy()

    def weight(self, matrix: torch.Tensor) -> torch.Tensor:
        """A matrix (out, in) as the parameter is stored; undoes ``matrix``."""
        return matrix.t() if self.kind == "conv1d" else matrix.reshape(self.shape)

    def order(self) -> NDArray[np.int64]:
        """The positions in the flattened parameter of the matrix's weights, taken row by row, shape (numel,)."""
        stored = np.arange(self.numel, dtype=np.int64).reshape(self.shape)
        return (stored.T if self.kind == "conv1d" else stored).ravel()

    def positions(self, row: int) -> NDArray[np.int64]:
        """The positions in the flattened parameter of the weights of output ``row``, shape (in,)."""
        return self.order().reshape(self.outputs, self.inputs)[row]


def find_targets(
    model: torch.nn.Module, targets: Iterable[str] = ("*",), ignore: Iterable[str] = ()
) -> tuple[Target, ...]:
    """The weights to prune, in the order of ``named_modules()``.

    Layers that share their weight with another module are left out if only '*' names them (``shared_weights``).

    Parameters
    ----------
    model : torch.nn.Module
        The network, which stays as it is.
    targets : patterns
        Names of modules to take, as a shell would match them: 'layer1.*', 'fc'.
    ignore : patterns
        Names of modules to leave out of those.

    Raises
    ------
    InputError
        A pattern matches nothing, or nothing is left (lists what there is); a weight is computed and no parameter
        (pruned or parametrized); or a layer named by ``targets`` shares its weight with another module.
    """
    prunable = _prunable(model)
    has = _listed(list(prunable))
    taken, left_out = _patterns(targets), _patterns(ignore)
    for field, patterns in (("targets", taken), ("ignore", left_out)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in prunable):
                inside = any(name.startswith(f"{pattern}.") for name in prunable)
                near = f"did you mean '{pattern}.*'? " if inside else ""
                raise InputError(f"{field}: no prunable layer is called {pattern!r}; {near}the network has {has}")
    tied = shared_weights(model)
    named = [pattern for pattern in taken if pattern != "*"]
    chosen = [
        name
        for name in prunable
        if any(fnmatchcase(name, pattern) for pattern in (taken if name not in tied else named))
        and not any(fnmatchcase(name, pattern) for pattern in left_out)
    ]
    if not chosen:
        raise InputError(f"targets: nothing is left to prune; the network has {has}")
    return _targets(model, chosen, prunable, tied)


def find_target(model: torch.nn.Module, name: str) -> Target:
    """The target whose module has exactly this name.

    Raises
    ------
    InputError
        The network has no such prunable layer (lists those it has).
    """
    prunable = _prunable(model)
    if name not in prunable:
        raise InputError(f"layer {name!r}: the network has no such prunable layer; it has {_listed(list(prunable))}")
    return _targets(model, [name], prunable, shared_weights(model))[0]


def find_tensor(model: torch.nn.Module, tensor: str) -> Target:
    """The target whose weight is the parameter of exactly this name.

    Raises
    ------
    InputError
        No prunable layer has this parameter (lists the layers).
    """
    names, prunable = _holders(model), _prunable(model)
    owner = next((name for name, module in prunable.items() if tensor in names.get(id(module.weight), ())), None)
    return find_target(model, tensor.removesuffix("weight").removesuffix(".") if owner is None else owner)


def shared_weights(model: torch.nn.Module) -> dict[str, str]:
    """The prunable layers whose weight has other names in the network, too: these names, by module name.

    The head of a language model, for example, often shares its weight with the embedding.
    """
    names = _holders(model)
    found = {}
    for name, module in _prunable(model).items():
        own, *others = names.get(id(module.weight), [""])
        if others:
            tensor = f"{name}.weight" if name else "weight"
            found[name] = ", ".join(other for other in [own, *others] if other != tensor)
    return found


def stacked_weights(model: torch.nn.Module) -> dict[str, int]:
    """How many numbers each parameter of three or more dimensions holds that belongs to no prunable layer, by name.

    Some libraries keep all experts of a mixture in one such tensor; one- and three-dimensional convolutions have them,
    too.
    """
    layers = {id(module.weight) for module in _prunable(model).values()}
    return {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.ndim > 2 and len(parameter) > 1 and id(parameter) not in layers
    }


def _prunable(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {name: module for name, module in model.named_modules() if _kind(module) is not None}


def _holders(model: torch.nn.Module) -> dict[int, list[str]]:
    """All names of each parameter in the network, by its ``id``."""
    holders: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        holders.setdefault(id(parameter), []).append(name)
    return holders


def _kind(module: torch.nn.Module) -> Kind | None:
    from torch import nn

    if isinstance(module, nn.Linear) or type(module) is projection_class():
        return "linear"
    if isinstance(module, nn.Conv2d):
        return "conv2d"
    weight = getattr(module, "weight", None)
    # transformers.pytorch_utils.Conv1D: y = x @ weight + bias with weight (in, out), and nf = out.
    transformer = type(module).__name__ == "Conv1D" and getattr(weight, "ndim", 0) == 2
    return "conv1d" if transformer and getattr(module, "nf", None) == weight.shape[1] else None  # type: ignore[union-attr]


def _targets(
    model: torch.nn.Module, chosen: Sequence[str], prunable: Mapping[str, torch.nn.Module], tied: Mapping[str, str]
) -> tuple[Target, ...]:
    """The targets of these layers; the weight of each must be a parameter, and must not be shared with a module."""
    names = _holders(model)
    targets = []
    for name in chosen:
        module = prunable[name]
        weight: torch.Tensor = module.weight  # type: ignore[assignment]
        if id(weight) not in names:
            raise InputError(
                f"layer {name}: its weight is no parameter but computed (torch prune, a parametrization); "
                "make it permanent first, as torch.nn.utils.prune.remove does, or ignore the layer"
            )
        if name in tied:
            raise InputError(
                f"layer {name}: its weight is the same tensor as {tied[name]}; pruning one would prune the "
                "other, so ignore the layer"
            )
        kind = _kind(module)
        assert kind is not None
        groups = int(getattr(module, "groups", 1))
        targets.append(Target(name, names[id(weight)][0], kind, tuple(weight.shape), groups))
    return tuple(targets)


def _patterns(given: Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:40]) or "none"
    return f"{shown} and {len(names) - 40} more" if len(names) > 40 else shown
