"""The Gram matrix of the commonest convolution (3×3, stride 1, zero padding of 1) without unfolding its inputs.

A column of ``patches`` at position p holds x[c, p + k] for the channels c and taps k ∈ {−1, 0, 1}². Summed over *all*
positions of the plane, x being zero outside the image, the product of two entries depends on the difference of the taps
only:

    Σ_p x[c, p + k] x[c', p + k'] = Σ_q x[c, q] x[c', q + k' − k] = R[c, c', k' − k],

25 differences in place of 81 pairs of taps; R is what a convolution's backward pass computes for a 5×5 kernel. The
positions just outside the image, which the layer does not have, are subtracted: they see one row or column of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FEW = 4
"""How many images have their products added up in float32; the sums over all images are float64."""


def is_plain(module: torch.nn.Module) -> bool:
    """Whether the layer is such a convolution, in float32 on a CPU (float64 has no fast backward pass, CUDA may round
    float32 to ten bits)."""
    import torch

    return (
        isinstance(module, torch.nn.Conv2d)
        and module.weight.dtype == torch.float32
        and module.weight.device.type == "cpu"
        and module.kernel_size == (3, 3)
        and module.stride == module.dilation == (1, 1)
        and module.groups == 1
        and module.padding in ((1, 1), "same")
        and module.padding_mode == "zeros"
    )


def gram(x: torch.Tensor) -> torch.Tensor:
    """Σ over samples and positions of patch·patchᵀ, float64 (9 channels, 9 channels); ``x`` is (batch, C, H, W)."""
    import torch
    from torch.nn.functional import pad

    C, tap = x.shape[1], torch.arange(3, device=x.device)
    R = _products(x, x, 2)
    apart = tap[None, :] - tap[:, None] + 2  # (tap, other tap)
    # (C, C, ky, ky', kx, kx') to (C, ky, kx, C, ky', kx')
    total = R[:, :, apart[:, :, None, None], apart].permute(0, 2, 4, 1, 3, 5).contiguous()
    for tap_, edge in ((2, x[:, :, 0]), (0, x[:, :, -1])):  # above and below the image, corners included
        total[:, tap_, :, :, tap_, :] -= _square(pad(edge, (2, 2)))
    for tap_, edge in ((2, x[..., 0]), (0, x[..., -1])):  # to its left and right
        total[:, :, tap_, :, :, tap_] -= _square(pad(edge, (1, 1)))
    return total.reshape(9 * C, 9 * C)


def cross(x: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Σ over samples and positions of change·patchᵀ, float64 (out, 9 channels); ``change`` is (batch, out, H, W)."""
    return _products(x, change, 1).flatten(1)


def _products(x: torch.Tensor, y: torch.Tensor, reach: int) -> torch.Tensor:
    """Σ_p y[o, p] x[c, p + δ] for |δ| ≤ reach, float64 of shape (o, c, 2 reach + 1, 2 reach + 1)."""
    import torch
    from torch.nn.grad import conv2d_weight

    size = (y.shape[1], x.shape[1], 2 * reach + 1, 2 * reach + 1)
    total = torch.zeros(size, dtype=torch.float64, device=x.device)
    for start in range(0, len(x), FEW):
        part = slice(start, start + FEW)
        total += conv2d_weight(x[part], size, y[part], padding=reach)  # type: ignore[no-untyped-call]
    return total


def _square(line: torch.Tensor) -> torch.Tensor:
    """Σ of the products of all three neighbours along a padded row or column (batch, C, length); (C, 3, C, 3)."""
    columns = line.unfold(2, 3, 1).permute(1, 3, 0, 2).flatten(2).flatten(0, 1).double()
    return (columns @ columns.t()).reshape(line.shape[1], 3, line.shape[1], 3)
