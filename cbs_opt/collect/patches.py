"""Unfolds a layer's inputs into columns, so that layer(x) = W·patches + bias.

For a convolution a column holds the inputs under the kernel at one position of one sample, in the order of the
flattened kernel; for a linear layer, one input vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch


def patches(
    target: Target,
    module: torch.nn.Module,
    x: torch.Tensor,  # shape: (batch, channels, height, width) or (..., in)
) -> torch.Tensor:  # shape: (groups, target.inputs, columns)
    """Unfold inputs; columns run over samples, then positions."""
    from torch import nn

    if target.kind != "conv2d":
        return x.reshape(-1, target.inputs).t()[None]
    assert isinstance(module, nn.Conv2d)
    padded = _padded(module, x)
    (kh, kw), (sh, sw), (dh, dw) = module.kernel_size, module.stride, module.dilation
    batch, channels, height, width = padded.shape
    rows, columns = (height - dh * (kh - 1) - 1) // sh + 1, (width - dw * (kw - 1) - 1) // sw + 1
    b, c, h, w = padded.stride()
    view = padded.as_strided(
        (channels, kh, kw, batch, rows, columns), (c, dh * h, dw * w, b, sh * h, sw * w), padded.storage_offset()
    )
    return view.reshape(target.groups, target.inputs, batch * rows * columns)


def responses(
    target: Target,
    module: torch.nn.Module,
    x: torch.Tensor,
    matrix: torch.Tensor,  # shape: (out, in)
) -> torch.Tensor:  # shape: (out, columns)
    """The outputs of the layer with the weights ``matrix`` and no bias; columns as in ``patches``."""
    from torch import nn
    from torch.nn import functional

    if target.kind != "conv2d":
        return matrix @ x.reshape(-1, target.inputs).t()
    assert isinstance(module, nn.Conv2d)
    kernel = target.weight(matrix)
    out = functional.conv2d(_padded(module, x), kernel, None, module.stride, 0, module.dilation, module.groups)
    return out.transpose(0, 1).reshape(target.outputs, -1)


def check_input(target: Target, x: object) -> None:
    """Raise unless ``x`` is a batch of inputs that this layer's curvature can be made from."""
    import torch

    ok = isinstance(x, torch.Tensor) and x.is_floating_point()
    if ok and target.kind == "conv2d":
        ok = isinstance(x, torch.Tensor) and x.ndim == 4
    if not ok:
        shape = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
        raise InputError(
            f"layer {target.name}: its input is {shape}; batches of {target.kind} inputs are needed, so "
            "ignore the layer"
        )


def without_padding(
    target: Target,
    inputs: tuple[torch.Tensor, ...],  # shape: (..., in) each
    counted: torch.Tensor | None,  # shape: (m, length)
    numbers: NDArray[np.int64],  # shape: (m,)
) -> tuple[tuple[torch.Tensor, ...], NDArray[np.int64]]:
    """The inputs of a layer at the positions that are no padding, and the number of the sample of each of them.

    A layer that does not have one input for each position of each sample (a convolution, a head on a pooled state, an
    expert that sees some of the tokens) has no padding: its inputs and ``numbers`` are returned as they are.

    Parameters
    ----------
    counted : boolean tensor, optional
        True at the positions that are no padding (``network.inputs``); left out, no position is padding.
    """
    import torch

    if counted is None or target.kind == "conv2d":
        return inputs, numbers
    chosen = as_in(inputs[0], counted)
    owner = as_in(inputs[0], torch.from_numpy(numbers)[:, None].expand(counted.shape))
    if chosen is None or owner is None:
        return inputs, numbers
    return tuple(x[chosen] for x in inputs), owner[chosen.cpu()].numpy()


def as_in(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor | None:
    """``positions``, a value for each position of each sample, shape (m, length), in the order of ``x``.

    The shape of ``x`` is (m, length, ...), (length, m, ...) or (m · length, in); None if it is none of these.
    """
    if x.ndim == 2:
        return positions.reshape(-1) if len(x) == positions.numel() else None
    if x.ndim > 2 and x.shape[:2] == positions.shape:
        return positions
    return positions.t() if x.ndim > 2 and x.shape[:2] == positions.t().shape else None


def _padded(module: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """The input with the convolution's padding around it."""
    from torch.nn import functional

    if module.padding == "valid":
        return x
    if module.padding == "same":
        whole = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        (top, left), (bottom, right) = [n // 2 for n in whole], [n - n // 2 for n in whole]
    else:
        assert not isinstance(module.padding, str)
        top, left = module.padding
        bottom, right = top, left
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return functional.pad(x, (left, right, top, bottom), mode=mode)
