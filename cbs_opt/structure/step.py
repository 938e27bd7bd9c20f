"""One operation of a traced network, in the form in which the rules of ``rules`` get it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cbs_opt.structure.numbering import STAYS, Numbering

if TYPE_CHECKING:
    import torch


class Parameter(NamedTuple):
    """A parameter or buffer of the network, by its name in ``state_dict()``."""

    tensor: str
    shape: tuple[int, ...]

    @property
    def dim(self) -> int | None:
        """The only dimension with more than one position; None where there is no such dimension, or several."""
        long = [dim for dim, size in enumerate(self.shape) if size > 1]
        return long[0] if len(long) == 1 else None


class Product(NamedTuple):
    """A matrix product: the numbers of its rows and columns, and ``amount`` operations for each pair of them."""

    rows: torch.Tensor
    columns: torch.Tensor
    amount: float


@dataclass(eq=False)
class Step:
    """One operation with its arguments.

    Parameters
    ----------
    node : str
        The name of the operation in the traced graph.
    operation : callable
        A function of ``torch.ops.aten``.
    arguments : list
        The arguments by position, defaults included: a number tensor or None for an activation, a ``Parameter``, or a
        plain value.
    shapes : list of tuple
        The shapes of the arguments that are tensors (for a list of tensors, a tuple of shapes); () for all others.
    out : tuple of int
        The shape of the (first) result.
    numbering : Numbering
        The numbers of all channels, to which a rule adds ties.
    products : list of Product
        All matrix products so far, to which a rule adds its own.
    """

    node: str
    operation: Any
    arguments: list[Any]
    shapes: list[tuple[Any, ...]]
    out: tuple[int, ...]
    numbering: Numbering
    products: list[Product]

    def numbers(self, place: int) -> torch.Tensor | None:
        """The number tensor of an argument, or None; a parameter with one long dimension has numbers of its own."""
        value = self.arguments[place] if place < len(self.arguments) else None
        if not isinstance(value, Parameter):
            return value if hasattr(value, "stride") else None
        if value.dim is None:
            return None
        own = self.numbering.axis(value.tensor, value.dim, value.shape[value.dim])
        return own.reshape([-1 if dim == value.dim else 1 for dim in range(len(value.shape))])

    def tensors(self) -> Iterator[torch.Tensor]:
        """All number tensors among the arguments, also those in lists."""
        for value in self.arguments:
            yield from (part for part in (value if isinstance(value, list) else [value]) if hasattr(part, "stride"))


def unknown(step: Step) -> None:
    """The rule for unknown operations: all channels and parameters among the arguments stay."""
    for numbers in step.tensors():
        if bool((numbers != STAYS).any()):
            step.numbering.mixers.append((step.node, int(numbers[numbers != STAYS][0])))
        step.numbering.stay(numbers)
    for value in step.arguments:
        if isinstance(value, Parameter):
            for dim, size in enumerate(value.shape):
                step.numbering.stay(step.numbering.axis(value.tensor, dim, size))
