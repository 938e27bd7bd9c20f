"""What each operation of a network does to the numbers of channels: it moves them, ties them, or makes new ones.

A rule is a function of a ``Step`` that returns the number tensor of the operation's result. Operations that only move
entries (reshape, concatenate, slice) are run on the numbers themselves. Those that work entry by entry tie the channels
that they combine. Those that mix entries along a dimension (means, normalizations, softmax) tie everything along it, so
that it is kept or removed as one. An operation without a rule makes its channels stay. ``None`` stands for an
activation without channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cbs_opt.structure.layer_rules import (
    addmm,
    attention,
    baddbmm,
    batch_norm,
    convolution,
    embedding,
    group_norm,
    layer_norm,
    linear,
    matmul,
    prelu,
)
from cbs_opt.structure.numbering import STAYS, compact
from cbs_opt.structure.step import Parameter, Step, unknown

if TYPE_CHECKING:
    import torch

Rule = Callable[[Step], Any]


def checked(step: Step) -> None:
    """The rule for an assertion, which has no result."""


def pointwise(step: Step) -> torch.Tensor | None:
    """The rule for operations that work entry by entry, with broadcasting."""
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


def moved(step: Step) -> Any:
    """The rule for operations that only move entries: the operation itself is run on the numbers."""
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
    # A view may fail on number tensors because of their strides of 0; a reshape does not.
    same = step.operation.__name__.partition(".")[0] in ("view", "_unsafe_view", "view_copy")
    result = arguments[0].reshape(arguments[1]) if same else step.operation(*arguments)
    return [compact(part) for part in result] if isinstance(result, (tuple, list)) else compact(result)


def padded(step: Step) -> torch.Tensor | None:
    """The rule for padding.

    New entries along a dimension without channels belong to the channel that they are added to; others stay.
    """
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
    """The rule for operations that mix all entries along the dimensions ``dims`` and keep or drop these."""

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
    """The dimensions in the second argument of an operation; all of them where it is left out."""
    given = step.arguments[1] if len(step.arguments) > 1 else None
    if isinstance(given, int):
        return (given,)
    return given or range(step.arguments[0].ndim)


def trailing(count: int) -> Callable[[Step], Sequence[int]]:
    """The last ``count`` dimensions, which are those of an image or a signal."""
    return lambda step: range(-count, 0)


_POINTWISE = """dropout dropout_ feature_dropout alpha_dropout to type_as clone contiguous alias detach detach_
    lift_fresh_copy _to_copy relu relu_ relu6 relu6_ hardtanh_ silu_ hardswish_ leaky_relu_ elu_ where masked_fill
    float half double selu celu mish log_sigmoid positive rsub softplus hardsigmoid"""
_MOVED = """view reshape _unsafe_view view_copy flatten unflatten transpose transpose_ permute t unsqueeze unsqueeze_
    squeeze squeeze_ slice select expand repeat repeat_interleave cat concat stack split split_with_sizes chunk unbind
    narrow flip roll pixel_shuffle pixel_unshuffle channel_shuffle movedim swapaxes expand_as tensor_split"""
_ALONG_GIVEN = "mean sum amax amin softmax log_softmax _softmax cumsum var std"
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
"""The rules by the names of operations, without overloads; those that torch tags as pointwise need no entry."""


def rule_of(operation: Any) -> Rule:
    """The rule for an operation of ``torch.ops.aten``."""
    import torch

    name = operation.__name__.partition(".")[0]
    if name.startswith(("_assert", "sym_")):
        return checked
    if name in RULES:
        return RULES[name]
    return pointwise if torch.Tag.pointwise in getattr(operation, "tags", ()) else unknown
