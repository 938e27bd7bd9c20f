"""Samples, and the tensors that a network is called with for them.

All other code knows only three things about samples: how many there are, how to take some of them, and which tensors
the network is called with for them (``Samples``). Arrays, tuples of arrays and dicts of arrays are samples in this
sense (``Arrays``), and so is any object with these three methods, for example one that reads its samples from a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError

if TYPE_CHECKING:
    import torch

SamplesLike = Any
"""``Samples``; an array (m, ...), the network's only input; a tuple of arrays, its inputs in their order; or a mapping
of arrays, its inputs by name. Tensors are taken like arrays."""


class Inputs(NamedTuple):
    """What a network is called with: tensors whose first dimension runs over the samples.

    Parameters
    ----------
    positional : tuple of tensors
        The network's positional inputs, in their order.
    named : dict of tensors
        Its further inputs, by name.
    """

    positional: tuple[torch.Tensor, ...]
    named: dict[str, torch.Tensor]

    def call(self, model: torch.nn.Module, state: dict[str, torch.Tensor] | None = None) -> Any:
        """The model's outputs; with ``state`` its parameters and buffers are used in place of the model's own.

        The model is called with copies, so that a model that changes its inputs in place changes no samples.
        """
        import torch
        from torch.func import functional_call

        from cbs_opt.network.attention import modules_called

        positional, named = self.each(torch.clone)
        with modules_called():
            if state is None:
                return model(*positional, **named)
            return functional_call(model, state, positional, named)

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        """The inputs with ``change`` applied to every tensor."""
        return Inputs(tuple(map(change, self.positional)), {name: change(x) for name, x in self.named.items()})

    @property
    def counted(self) -> torch.Tensor | None:
        """A boolean tensor (m, length), True at the positions of the sequences that are no padding; None without any.

        It is read from ``attention_mask`` (m, length), which is 1 at tokens, as in the transformers library, or from
        ``src_key_padding_mask`` (m, length), which is True at padding, as in torch.
        """
        mask, padding = self.named.get("attention_mask"), self.named.get("src_key_padding_mask")
        found = None
        if mask is not None and mask.ndim == 2:
            found = mask != 0 if not mask.is_floating_point() else mask > 0
        elif padding is not None and padding.ndim == 2:
            found = padding == 0
        return None if found is None or bool(found.all()) else found

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """All tensors with their names: '0', '1', … for the positional ones, then the named ones."""
        yield from ((str(number), x) for number, x in enumerate(self.positional))
        yield from self.named.items()

    @property
    def numel(self) -> int:
        """How many numbers all tensors hold."""
        return sum(x.numel() for _, x in self.tensors())

    def shape(self) -> str:
        """The shape of one sample in words: 'shape (3, 32, 32)', or for several inputs 'shapes ids (8,), mask (8,)'."""
        shapes = [str(tuple(x.shape[1:])) for x in self.positional]
        if len(shapes) == 1 and not self.named:
            return f"shape {shapes[0]}"
        return "shapes " + ", ".join([*shapes, *(f"{name} {tuple(x.shape[1:])}" for name, x in self.named.items())])


@runtime_checkable
class Samples(Protocol):
    """Calibration samples of any kind, without their labels."""

    def __len__(self) -> int:
        """How many samples there are."""

    def take(self, which: slice | NDArray[np.int64]) -> Samples:
        """The samples of a slice, or those at the positions of an int array (k,), in its order."""

    def inputs(self, model: torch.nn.Module) -> Inputs:
        """What the model is called with for all samples, on its device, floats in its precision."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """Samples in memory: one array for each input of the network, whose first dimension runs over the samples.

    Parameters
    ----------
    positional : tuple of arrays, shape (m, ...)
        The network's positional inputs, in their order; for images a single one.
    named : mapping of arrays, shape (m, ...)
        Its inputs by name, such as tokens and their attention mask.
    """

    positional: tuple[NDArray[Any], ...]
    named: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(next(self.arrays()))

    def take(self, which: slice | NDArray[np.int64]) -> Arrays:
        """The samples of a slice, or those at the positions of an int array (k,), in its order."""
        return Arrays(tuple(x[which] for x in self.positional), {name: x[which] for name, x in self.named.items()})

    def inputs(self, model: torch.nn.Module) -> Inputs:
        """Tensors on the model's device; floats in the model's precision, integers (tokens) as they are."""
        import torch

        weight = next(model.parameters())

        def tensor(x: NDArray[Any]) -> torch.Tensor:
            found = torch.from_numpy(np.ascontiguousarray(x)).to(weight.device)
            return found.to(weight.dtype) if found.is_floating_point() else found

        return Inputs(tuple(map(tensor, self.positional)), {name: tensor(x) for name, x in self.named.items()})

    def first_not_finite(self) -> int | None:
        """The position of the first sample that holds NaN or infinity; None if all are finite."""
        found = [np.argwhere(~np.isfinite(x)) for x in self.arrays() if x.dtype.kind == "f"]
        return min((int(places[0, 0]) for places in found if len(places)), default=None)

    def arrays(self) -> Iterator[NDArray[Any]]:
        """The arrays, one for each input."""
        yield from self.positional
        yield from self.named.values()


def as_samples(given: SamplesLike, name: str = "x") -> Samples:
    """Make ``Samples`` from what was given; errors call it ``name``.

    Raises
    ------
    InputError
        It cannot be samples, or has more samples for one input than for another.
    """
    if isinstance(given, Samples):
        return given
    if not can_be_samples(given):
        raise InputError(
            f"{name}: is a {type(given).__name__}; give an array or a tensor, or a tuple or a dict of them where the "
            "network takes several inputs"
        )
    named = given if isinstance(given, Mapping) else {}
    positional = () if named else given if isinstance(given, tuple) else (given,)
    found = Arrays(
        tuple(as_array(part, name) for part in positional),
        {str(key): as_array(part, name) for key, part in named.items()},
    )
    counts = [len(part) for part in found.arrays()]
    if len(set(counts)) > 1:
        raise InputError(
            f"{name}: the network's inputs hold {', '.join(map(str, counts))} samples; each must hold all of them"
        )
    return found


def can_be_samples(given: SamplesLike) -> bool:
    """Whether ``as_samples`` takes a value of this type."""
    if isinstance(given, (Mapping, tuple)):
        parts = list(given.values()) if isinstance(given, Mapping) else list(given)
        return bool(parts) and all(hasattr(part, "__array__") for part in parts)
    return isinstance(given, Samples) or hasattr(given, "__array__")


def as_array(given: Any, name: str) -> NDArray[Any]:
    """An array or a tensor of samples, or of their labels, as an array.

    Raises
    ------
    InputError
        It is a single number.
    """
    import torch

    array = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given)
    if not array.ndim:
        raise InputError(f"{name}: is a single number; samples are needed, one along the first dimension each")
    return array
