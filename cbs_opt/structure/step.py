"""One operation of a traced network, as the rules see it."""

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
        """The only dimension of more than one position; None where there is none, or several."""
        long = [dim for dim, size in enumerate(self.shape) if size > 1]
        return long[0] if len(long) == 1 else None


class Product(NamedTuple):
    """A matrix product: ``amount`` operations for each pair of a row and a column."""

    rows: torch.Tensor
    columns: torch.Tensor
    amount: float


@dataclass(eq=False)
class Step:
    """One operation.

    Parameters
    ----------
    node : str
        Its name in the traced graph.
    operation : callable
        Of ``torch.ops.aten``.
    arguments : list
        By position, the operation's defaults filled in: number tensors, None, ``Parameter``, or plain values.
    shapes : list of tuple
        Of the tensors among them, at the same places (of a list of tensors a tuple of shapes); () elsewhere.
    out : tuple of int
        Shape of the (first) result.
    numbering : Numbering
    products : list of Product
        Matrix products so far, and those of this one.
    """

    node: str
    operation: Any
    arguments: list[Any]
    shapes: list[tuple[Any, ...]]
    out: tuple[int, ...]
    numbering: Numbering
    products: list[Product]

    def numbers(self, place: int) -> torch.Tensor | None:
        """The numbers of an argument; those of a parameter that runs along one dimension are its own."""
        value = self.arguments[place] if place < len(self.arguments) else None
        if not isinstance(value, Parameter):
            return value if hasattr(value, "stride") else None
        if value.dim is None:
            return None
        own = self.numbering.axis(value.tensor, value.dim, value.shape[value.dim])
        return own.reshape([-1 if dim == value.dim else 1 for dim in range(len(value.shape))])

    def tensors(self) -> Iterator[torch.Tensor]:
        """All number tensors among the arguments, those in lists too."""
        for value in self.arguments:
            yield from (part for part in (value if isinstance(value, list) else [value]) if hasattr(part, "stride"))


def unknown(step: Step) -> None:
    """Whatever channels come here stay."""
    for numbers in step.tensors():
        if bool((numbers != STAYS).any()):
            step.numbering.mixers.append((step.node, int(numbers[numbers != STAYS][0])))
        step.numbering.stay(numbers)
    for value in step.arguments:
        if isinstance(value, Parameter):
            for dim, size in enumerate(value.shape):
                step.numbering.stay(step.numbering.axis(value.tensor, dim, size))
