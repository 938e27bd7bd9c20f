"""Residual blocks (He et al. 2016): relu(branch(x) + shortcut(x)), the branch's modules being children of the block."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def residual(branch: OrderedDict[str, torch.nn.Module], downsample: torch.nn.Module | None) -> torch.nn.Module:
    """A block of the named modules of ``branch``, one after the other, around a shortcut (None: the identity)."""
    block: torch.nn.Module = _residual_class()(branch, downsample)
    return block


def shortcut(inputs: int, outputs: int, stride: int) -> torch.nn.Module | None:
    """The shortcut of a block: 1×1 convolution and batch norm where the shape changes, else None."""
    from torch import nn

    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


@cache
def _residual_class() -> type[torch.nn.Module]:
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, branch: OrderedDict[str, nn.Module], downsample: nn.Module | None) -> None:
            super().__init__()
            self.branch = tuple(branch)
            for name, module in branch.items():
                self.add_module(name, module)
            self.downsample = downsample
            self.relu = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = x
            for name in self.branch:
                out = getattr(self, name)(out)
            identity = x if self.downsample is None else self.downsample(x)
            total: torch.Tensor = self.relu(out + identity)
            return total

    return Residual
