"""What modules take and return: tensors, or tuples, lists and dicts of tensors and plain values."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Value = Any


def flat(value: Value) -> list[Value]:
    """The leaves of nested tuples, lists and dicts, in their order."""
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in flat(part)]
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in flat(part)]
    return [value]


def is_plain(value: Value) -> bool:
    """Whether a value can be copied and kept: nothing but tensors and plain values in nested tuples, lists, dicts."""
    import torch

    if type(value) in (tuple, list):
        return all(is_plain(part) for part in value)
    if type(value) is dict:
        return all(is_plain(part) for part in value.values())
    return value is None or isinstance(value, (torch.Tensor, bool, int, float, str))


def versions(given: list[Value]) -> list[tuple[torch.Tensor, int]]:
    """The tensors among a call's inputs, with the counts of their in-place changes so far."""
    import torch

    return [(value, value._version) for value in flat(given) if isinstance(value, torch.Tensor)]


def is_apart(value: Value, given: list[torch.Tensor]) -> bool:
    """Whether the tensors of a value share no memory with each other, nor with those that were ``given``."""
    import torch

    own = [part for part in flat(value) if isinstance(part, torch.Tensor) and part.numel()]
    places = [part.untyped_storage().data_ptr() for part in own]
    return len(set(places)) == len(places) and not set(places) & {x.untyped_storage().data_ptr() for x in given}


def equal(x: Value, y: Value) -> bool:
    """Whether the tensors of two values agree: exactly on a CPU, elsewhere up to the effect of the order of sums."""
    import torch

    ours, theirs = flat(x), flat(y)
    return len(ours) == len(theirs) and all(
        _same_numbers(one, other) for one, other in zip(ours, theirs, strict=True) if isinstance(other, torch.Tensor)
    )


def _same_numbers(x: Value, y: torch.Tensor) -> bool:
    import torch

    if type(x) is not torch.Tensor or x.shape != y.shape:
        return False
    if x.device.type == "cpu" or not x.is_floating_point():
        return torch.equal(x, y)
    return bool(torch.allclose(x, y, rtol=0, atol=1e-4 * float(y.abs().max())))


def copied(value: Value, device: torch.device | str | None = None) -> Value:
    """A copy that later in-place operations on the original cannot reach."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to(device or value.device, copy=True)
    if type(value) in (tuple, list):
        return type(value)(copied(part, device) for part in value)
    if type(value) is dict:
        return {key: copied(part, device) for key, part in value.items()}
    return copy.deepcopy(value)  # a cache that a block adds to, for example


def size(value: Value) -> int:
    """How many bytes the tensors of a value take."""
    import torch

    return sum(part.numel() * part.element_size() for part in flat(value) if isinstance(part, torch.Tensor))
