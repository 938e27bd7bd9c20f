"""What each operation of a network does to the numbers of channels: it moves them, ties them, or makes new ones.

A rule is a function of a ``Step``. Operations that only move entries (reshape, concatenate, slice) are run on the
numbers themselves; those that work entry by entry tie what they combine; those that mix entries along a dimension
(means, normalizations, softmax) tie everything along it, so that it stays or goes as one. What no rule knows ties its
inputs to what stays. ``None`` stands for an activation that no channel runs through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cbs_opt.structure.numbering import STAYS, Numbering, compact

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


Rule = Callable[[Step], Any]


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


def checked(step: Step) -> None:
    """An assertion: nothing becomes of it."""


def pointwise(step: Step) -> torch.Tensor | None:
    """Entry by entry, with broadcasting."""
    found: list[torch.Tensor] = []
    wide: set[int] = set()
    for place, shape in enumerate(step.shapes):
        value = step.arguments[place]
        if isinstance(value, Parameter) and value.dim is not None:
            continue
        numbers = step.numbers(place)
        if numbers is not None:
            found.append(numbers)
        else:
            wide |= {len(step.out) - len(shape) + dim for dim, size in enumerate(shape) if size > 1}
    if not found:
        return None
    for other in found[1:]:
        step.numbering.tie(found[0], other)
    result = compact(found[0].expand(step.out))
    step.numbering.tie_along(result, tuple(sorted(wide)), step.node)
    for value in step.arguments:
        if isinstance(value, Parameter) and value.dim is not None:
            own = step.numbering.axis(value.tensor, value.dim, value.shape[value.dim])
            step.numbering.later(own, result, value.dim - len(value.shape))
    return result


def prelu(step: Step) -> torch.Tensor | None:
    """Entry by entry, with a slope for each channel or one for all."""
    slope = step.arguments[1]
    if isinstance(slope, Parameter) and slope.shape[0] > 1 and step.arguments[0] is not None:
        _owned(step, [slope], step.numbering.along(step.arguments[0], 1))
    return step.arguments[0]


def moved(step: Step) -> Any:
    """The operation itself, on the numbers."""
    import torch

    def numbers(value: Any, shape: tuple[int, ...]) -> Any:
        if value is None:
            return torch.full(shape, STAYS)
        return value

    if not any(True for _ in step.tensors()) and step.numbers(0) is None:
        return None
    arguments = list(step.arguments)
    if isinstance(arguments[0], list):
        arguments[0] = [numbers(x, s) for x, s in zip(arguments[0], step.shapes[0], strict=True)]
    elif isinstance(arguments[0], Parameter):
        arguments[0] = step.numbers(0)
    # Numbers have strides of 0, which a view of an activation need not expect.
    same = step.operation.__name__.partition(".")[0] in ("view", "_unsafe_view", "view_copy")
    result = arguments[0].reshape(arguments[1]) if same else step.operation(*arguments)
    return [compact(part) for part in result] if isinstance(result, (tuple, list)) else compact(result)


def padded(step: Step) -> torch.Tensor | None:
    """New entries at the borders: the channel's own where no channels lie along them, else such as stay."""
    import torch

    x, amounts = step.arguments[0], step.arguments[1]
    if x is None:
        return None
    result = torch.nn.functional.pad(x, amounts, value=STAYS)
    for back in range(len(amounts) // 2):
        dim = x.ndim - 1 - back
        first = x.narrow(dim, 0, 1)
        if any(amounts[2 * back : 2 * back + 2]) and bool((x == first).all()):
            inner = result.narrow(dim, max(0, amounts[2 * back]), 1)
            result = inner.expand(result.shape)
    return compact(result)


def mixed_along(dims: Callable[[Step], Sequence[int]]) -> Rule:
    """A rule for what mixes entries along these dimensions and keeps or drops them."""

    def rule(step: Step) -> torch.Tensor | None:
        x = step.arguments[0]
        if x is None:
            return None
        places = tuple(dim % x.ndim for dim in dims(step))
        first = step.numbering.tie_along(x, places, step.node)
        if len(step.out) < x.ndim:
            for dim in sorted(places, reverse=True):
                first = first.squeeze(dim)
        return first.expand(step.out)

    return rule


def given_dims(step: Step) -> Sequence[int]:
    """The second argument; all dimensions where it is left out."""
    given = step.arguments[1] if len(step.arguments) > 1 else None
    if isinstance(given, int):
        return (given,)
    return given or range(step.arguments[0].ndim)


def trailing(count: int) -> Callable[[Step], Sequence[int]]:
    """The last dimensions: those of an image."""
    return lambda step: range(-count, 0)


def linear(step: Step) -> torch.Tensor | None:
    """x Wᵀ + b with W (out, in)."""
    return _affine(step, step.arguments[0], step.arguments[1], step.arguments[2], (0, 1))


def addmm(step: Step) -> torch.Tensor | None:
    """b + x W with W (in, out), the ``Conv1D`` of transformers."""
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
    """Of one, two or three dimensions; the channels of a group go together where there are several groups."""
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
    """Channel by channel, dimension 1; scale, shift and statistics go with the channel."""
    x = step.arguments[0]
    channels = None if x is None else step.numbering.along(x, 1)
    _owned(step, step.arguments[1:5], channels)
    return x


def layer_norm(step: Step) -> torch.Tensor | None:
    """Mixes the last dimensions; the scale and shift of one of them go with it."""
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
    """Mixes the channels of each group; the groups may go one by one."""
    x, groups = step.arguments[0], step.arguments[1]
    channels = None if x is None else step.numbering.along(x, 1)
    if channels is not None:
        step.numbering.tie_along(channels.reshape(groups, -1), (1,), step.node)
    _owned(step, step.arguments[2:4], channels)
    return x


def _owned(step: Step, values: Sequence[Any], channels: torch.Tensor | None) -> None:
    """Parameters of the shape of the channels."""
    for value in values:
        if isinstance(value, Parameter):
            own = step.numbering.axis(value.tensor, 0, value.shape[0])
            if channels is None:
                step.numbering.stay(own)
            else:
                step.numbering.tie(own, channels)


def embedding(step: Step) -> torch.Tensor | None:
    """Rows of a table; its columns are the channels."""
    table = step.arguments[0]
    if not isinstance(table, Parameter):
        unknown(step)
        return None
    step.numbering.stay(step.numbering.axis(table.tensor, 0, table.shape[0]))
    return step.numbering.axis(table.tensor, 1, table.shape[1]).expand(step.out)


def matmul(step: Step) -> torch.Tensor | None:
    """A B of activations (…, i, c), (…, c, j): what is summed over goes as one, with the rows and columns it makes."""
    return _matmul(step, 0, 1)


def baddbmm(step: Step) -> torch.Tensor | None:
    """S + A B."""
    if step.arguments[0] is None:
        return _matmul(step, 1, 2)
    unknown(step)
    return None


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
            _alone(step, part, shapes[place])
    result = found[-1].expand(step.out)
    if parts[0] is not None:
        counted, others = parts[0][..., :1, :].reshape(-1), float(shapes[0][-2] * step.out[-1])
    else:
        assert parts[1] is not None
        counted, others = parts[1][..., :1].reshape(-1), float(shapes[1][-1] * step.out[-2])
    step.products.append(Product(counted, torch.tensor([STAYS]), 2.0 * others))
    return result


def _alone(step: Step, numbers: torch.Tensor, other: tuple[int, ...]) -> None:
    """Batch dimensions that the other factor has as well, without channels, go as one."""
    wide = [dim for dim in range(-len(other), -2) if other[dim] > 1 and -dim <= numbers.ndim]
    step.numbering.tie_along(numbers, tuple(numbers.ndim + dim for dim in wide), step.node)


def attention(step: Step) -> torch.Tensor | None:
    """Softmax of Q Kᵀ, times V: a head is one, with the head of keys and values that it reads."""
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


_POINTWISE = """dropout dropout_ feature_dropout alpha_dropout to type_as clone contiguous alias detach detach_
    lift_fresh_copy _to_copy relu relu_ relu6 relu6_ hardtanh_ silu_ hardswish_ leaky_relu_ elu_ where masked_fill
    float half double selu celu mish log_sigmoid positive rsub softplus hardsigmoid"""
_MOVED = """view reshape _unsafe_view view_copy flatten unflatten transpose transpose_ permute t unsqueeze unsqueeze_
    squeeze squeeze_ slice select expand repeat repeat_interleave cat concat stack split split_with_sizes chunk unbind
    narrow flip roll pixel_shuffle pixel_unshuffle channel_shuffle movedim swapaxes expand_as tensor_split"""
_ALONG_GIVEN = "mean sum amax amin softmax log_softmax _softmax cumsum var std norm argmax argmin any all"
_IMAGES = """max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d upsample_bilinear2d
    lp_pool2d upsample_bicubic2d"""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_POINTWISE.split(), pointwise),
    **dict.fromkeys(_MOVED.split(), moved),
    **dict.fromkeys(_ALONG_GIVEN.split(), mixed_along(given_dims)),
    **dict.fromkeys(_IMAGES.split(), mixed_along(trailing(2))),
    **dict.fromkeys(("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d"), mixed_along(trailing(1))),
    "constant_pad_nd": padded,
    "pad": padded,
    "prelu": prelu,
    "linear": linear,
    "addmm": addmm,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolution),
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "embedding": embedding,
    **dict.fromkeys(("matmul", "bmm", "mm"), matmul),
    "baddbmm": baddbmm,
    "scaled_dot_product_attention": attention,
}
"""By the name of the operation without its overload; operations that torch itself calls pointwise need no entry."""


def rule_of(operation: Any) -> Rule:
    """The rule for an operation of ``torch.ops.aten``."""
    import torch

    name = operation.__name__.partition(".")[0]
    if name.startswith(("_assert", "sym_")):
        return checked
    if name in RULES:
        return RULES[name]
    return pointwise if torch.Tag.pointwise in getattr(operation, "tags", ()) else unknown
