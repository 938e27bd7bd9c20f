"""Tensors that stand in for a module's output that is not kept, as long as its numbers are not needed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from cbs_opt.collect.values import flat

if TYPE_CHECKING:
    import torch

PASSED_ON = frozenset({"add", "div", "gelu", "mul", "relu", "sigmoid", "silu", "sub", "tanh"})
"""Names of functions that make a stand-in from a stand-in: each returns one new tensor and changes nothing."""


class Needed(Exception):
    """The output of a finished module is needed: its numbers, or else its shape, type or device."""

    def __init__(self, name: str, numbers: bool) -> None:
        super().__init__(name)
        self.name, self.numbers = name, numbers


def outline(value: Any, device: torch.device) -> torch.Tensor | None:
    """A tensor of the same shape and type that takes no memory; None if ``value`` is no tensor."""
    import torch

    if not isinstance(value, torch.Tensor):
        return None
    return torch.zeros((), dtype=value.dtype, device=device).expand(value.shape)


def stand_in(name: str, outlined: torch.Tensor | None = None) -> torch.Tensor:
    """A tensor that raises ``Needed`` as soon as the output of the module ``name`` is needed.

    Shape, type and device are those of ``outlined``, if that is given. A function in ``PASSED_ON`` makes another
    stand-in from it; any other function needs its numbers.
    """
    import torch

    tensor: Any = torch.Tensor._make_subclass(_class(), torch.empty(0))
    tensor.module, tensor.outlined, tensor.made_of_it = name, outlined, False
    return tensor


def is_stand_in(value: Any) -> bool:
    """Whether a value is a stand-in."""
    return type(value) is _class()


def refuse(value: Any) -> None:
    """Raise ``Needed`` if there is a stand-in in a value."""
    for part in flat(value):
        if is_stand_in(part):
            raise Needed(part.module, numbers=True)


@cache
def _class() -> type[torch.Tensor]:
    import torch

    class StandIn(torch.Tensor):
        module: str
        outlined: torch.Tensor | None
        made_of_it: bool

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named = kwargs or {}
            first: Any = next((value for value in (*args, *named.values()) if is_stand_in(value)), None)
            if first is not None and func in _outlines() and not first.made_of_it:
                if first.outlined is None:
                    raise Needed(first.module, numbers=False)
                return func(first.outlined, *args[1:], **named)
            if first is not None and func.__name__ in PASSED_ON and not _changes_something(args, named):
                made = stand_in(first.module)
                made.made_of_it = True  # type: ignore[attr-defined]
                return made
            refuse((args, named))
            raise AssertionError("a stand-in is among the arguments")

    return StandIn


@cache
def _outlines() -> frozenset[Any]:
    """The functions that look at shape, type and device only."""
    from torch import Tensor

    attributes: tuple[Any, ...] = (Tensor.shape, Tensor.dtype, Tensor.device, Tensor.ndim)
    return frozenset({*(attribute.__get__ for attribute in attributes), Tensor.size, Tensor.dim})


def _changes_something(args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Whether a call changes a tensor: ``relu(x, True)``, ``relu(x, inplace=True)``, ``mul(x, y, out=z)``."""
    return any(value is True for value in (*args, *named.values())) or named.get("out") is not None
