"""The rules of operations that have weights of their own, and of attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbs_opt.structure.numbering import STAYS
from cbs_opt.structure.step import Parameter, Product, Step, unknown

if TYPE_CHECKING:
    import torch


def linear(step: Step) -> torch.Tensor | None:
    """The rule for x Wᵀ + b with W of shape (out, in)."""
    return _affine(step, step.arguments[0], step.arguments[1], step.arguments[2], (0, 1))


def addmm(step: Step) -> torch.Tensor | None:
    """The rule for b + x W with W of shape (in, out), as in the ``Conv1D`` of transformers."""
    bias, x, weight = step.arguments[:3]
    if not isinstance(weight, Parameter):
        unknown(step)
        return None
    return _affine(step, x, weight, bias, (1, 0))


def _affine(step: Step, x: torch.Tensor | None, weight: Any, bias: Any, dims: tuple[int, int]) -> torch.Tensor | None:
    numbering = step.numbering
    if not isinstance(weight, Parameter):
        unknown(step)
        return None
    rows, columns = (numbering.axis(weight.tensor, dim, weight.shape[dim]) for dim in dims)
    _read(step, x, -1, columns)
    numbering.read.add((weight.tensor, dims[1]))
    if isinstance(bias, Parameter):
        numbering.tie(numbering.axis(bias.tensor, 0, bias.shape[0]), rows)
    positions = _numel(step.out) / len(rows)
    step.products.append(Product(rows, columns, 2.0 * positions))
    return rows.expand(step.out) if len(rows) > 1 else None


def _read(step: Step, x: torch.Tensor | None, dim: int, columns: torch.Tensor) -> None:
    if x is None:
        step.numbering.stay(columns)
    else:
        step.numbering.tie(step.numbering.along(x, dim), columns)


def convolution(step: Step) -> torch.Tensor | None:
    """The rule for convolutions of one, two or three dimensions; with several groups, those are removed as a whole."""
    x, weight, bias = step.arguments[:3]
    groups = step.arguments[6] if len(step.arguments) > 6 else 1
    if not isinstance(weight, Parameter) or not isinstance(groups, int):
        unknown(step)
        return None
    numbering = step.numbering
    rows = numbering.axis(weight.tensor, 0, weight.shape[0])
    if groups == 1:
        columns = numbering.axis(weight.tensor, 1, weight.shape[1])
        _read(step, x, 1, columns)
        numbering.read.add((weight.tensor, 1))
    else:
        import torch

        columns = torch.full((weight.shape[1],), STAYS)
        together = [rows.reshape(groups, -1)]
        if x is None:
            numbering.stay(rows)
        else:
            together.append(numbering.along(x, 1).reshape(groups, -1))
        numbering.tie_along(torch.cat(together, dim=1), (1,))
    if isinstance(bias, Parameter):
        numbering.tie(numbering.axis(bias.tensor, 0, bias.shape[0]), rows)
    each = 2.0 * _numel(step.out) / weight.shape[0] * _numel(weight.shape[2:])
    step.products.append(Product(rows, columns, each))
    if len(rows) == 1:
        return None
    return rows.reshape(1, -1, *[1] * (len(step.out) - 2)).expand(step.out)


def batch_norm(step: Step) -> torch.Tensor | None:
    """The rule for batch normalization: scale, shift and statistics are removed with the channel of dimension 1."""
    x = step.arguments[0]
    channels = None if x is None else step.numbering.along(x, 1)
    _owned(step, step.arguments[1:5], channels)
    return x


def layer_norm(step: Step) -> torch.Tensor | None:
    """The rule for layer normalization, which mixes the last dimensions; scale and shift may belong to one of them."""
    x, shape = step.arguments[0], step.arguments[1]
    own = [value for value in step.arguments[2:4] if isinstance(value, Parameter)]
    if x is None:
        _owned(step, own, None)
        return None
    step.numbering.tie_along(x, tuple(range(x.ndim - len(shape), x.ndim)), step.node)
    for value in own:
        if len(value.shape) == 1:
            step.numbering.later(step.numbering.axis(value.tensor, 0, value.shape[0]), x, -1)
    return x


def group_norm(step: Step) -> torch.Tensor | None:
    """The rule for group normalization, which mixes the channels of each group; whole groups can be removed."""
    x, groups = step.arguments[0], step.arguments[1]
    channels = None if x is None else step.numbering.along(x, 1)
    if channels is not None:
        step.numbering.tie_along(channels.reshape(groups, -1), (1,), step.node)
    _owned(step, step.arguments[2:4], channels)
    return x


def _owned(step: Step, values: Sequence[Any], channels: torch.Tensor | None) -> None:
    """Tie parameters with one entry for each channel to the channels."""
    for value in values:
        if isinstance(value, Parameter):
            own = step.numbering.axis(value.tensor, 0, value.shape[0])
            if channels is None:
                step.numbering.stay(own)
            else:
                step.numbering.tie(own, channels)


def embedding(step: Step) -> torch.Tensor | None:
    """The rule for an embedding: its result are rows of a table, whose columns are the channels."""
    table = step.arguments[0]
    if not isinstance(table, Parameter):
        unknown(step)
        return None
    step.numbering.stay(step.numbering.axis(table.tensor, 0, table.shape[0]))
    return step.numbering.axis(table.tensor, 1, table.shape[1]).expand(step.out)


def matmul(step: Step) -> torch.Tensor | None:
    """The rule for A B of activations (…, i, c) and (…, c, j): the channels that are summed over are tied together.

    They are also tied to the rows and columns that they contribute to.
    """
    return _matmul(step, 0, 1)


def baddbmm(step: Step) -> torch.Tensor | None:
    """The rule for S + A B of activations."""
    if step.arguments[0] is not None:
        unknown(step)
        return None
    result = _matmul(step, 1, 2)
    if result is not None:
        _alone(step, result, step.shapes[0])
    return result


def _matmul(step: Step, left: int, right: int) -> torch.Tensor | None:
    import torch

    parts = [step.numbers(left), step.numbers(right)]
    shapes = [step.shapes[left], step.shapes[right]]
    if min(map(len, shapes)) < 2:
        unknown(step)
        return None
    found: list[torch.Tensor] = []
    for numbers, dim in zip(parts, (-1, -2), strict=True):
        if numbers is not None:
            found.append(step.numbering.tie_along(numbers, (numbers.ndim + dim,), step.node))
    if not found:
        return None
    if parts[0] is not None and parts[1] is not None:
        step.numbering.tie(parts[0].unsqueeze(-1), parts[1].unsqueeze(-3))
    for part, place in zip(parts, (1, 0), strict=True):
        if part is not None and parts[place] is None:
            _alone(step, part, (*shapes[place][:-2], 1, 1))
    result = found[-1].expand(step.out)
    if parts[0] is not None:
        counted, others = parts[0][..., :1, :].reshape(-1), float(shapes[0][-2] * step.out[-1])
    else:
        assert parts[1] is not None
        counted, others = parts[1][..., :1].reshape(-1), float(shapes[1][-1] * step.out[-2])
    step.products.append(Product(counted, torch.tensor([STAYS]), 2.0 * others))
    return result


def _alone(step: Step, numbers: torch.Tensor, other: tuple[int, ...]) -> None:
    """Tie everything along the dimensions that an operand without channels has, too, aligned at the last one.

    ``other`` is the shape of that operand.
    """
    wide = [dim for dim in range(-len(other), 0) if other[dim] > 1 and -dim <= numbers.ndim]
    step.numbering.tie_along(numbers, tuple(numbers.ndim + dim for dim in wide), step.node)


def attention(step: Step) -> torch.Tensor | None:
    """The rule for softmax(Q Kᵀ) V: a head is a unit, together with the head of keys and values that it reads."""
    import torch

    query, key, value = (step.numbers(place) for place in range(3))
    if query is None or key is None or value is None or query.ndim < 4:
        unknown(step)
        return None
    query, key, value = (step.numbering.tie_along(part, (part.ndim - 2,)) for part in (query, key, value))
    repeats = query.shape[-3] // key.shape[-3]
    if repeats > 1:
        key, value = (part.repeat_interleave(repeats, dim=-3) for part in (key, value))
    whole = torch.cat([query, key, value], dim=-1).squeeze(-2)
    step.numbering.tie_along(whole, (whole.ndim - 1,))
    mask = step.shapes[3] if len(step.shapes) > 3 else ()
    if len(mask) > 2 and mask[-3] > 1:
        step.numbering.tie_along(whole, (whole.ndim - 2,), step.node)
    pairs = 2.0 * step.shapes[0][-2] * step.shapes[1][-2]
    for part in (query, value):
        step.products.append(Product(part.reshape(-1), torch.tensor([STAYS]), pairs))
    return value.expand(step.out)


def _numel(shape: Sequence[int]) -> float:
    total = 1.0
    for size in shape:
        total *= size
    return total


def prelu(step: Step) -> torch.Tensor | None:
    """The rule for PReLU, which works entry by entry, with a slope for each channel or one for all."""
    slope = step.arguments[1]
    if isinstance(slope, Parameter) and slope.shape[0] > 1 and step.arguments[0] is not None:
        _owned(step, [slope], step.numbering.along(step.arguments[0], 1))
    return step.arguments[0]
