"""MobileNetV1 for ImageNet (Howard et al. 2017), parameters named as in the checkpoints that STR, WoodFisher and CHITA
prune: ``model.0`` is the first convolution, ``model.1`` … ``model.13`` are pairs of a depthwise (``.0``) and a 1×1
convolution (``.3``), ``fc`` is the classifier.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Output channels and stride of the thirteen depthwise-separable pairs (table 1 of the paper)."""


def mobilenet() -> torch.nn.Module:
    """3×224×224 → 1000 classes, 4.2 million parameters."""
    from torch import nn

    def convolution(inputs: int, outputs: int, size: int, stride: int, groups: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    stages: list[nn.Module] = [nn.Sequential(*convolution(3, 32, 3, 2))]
    channels = 32
    for outputs, stride in PAIRS:
        depthwise = convolution(channels, channels, 3, stride, groups=channels)
        stages.append(nn.Sequential(*depthwise, *convolution(channels, outputs, 1, 1)))
        channels = outputs
    stages.append(nn.AvgPool2d(7))
    return nn.Sequential(OrderedDict(model=nn.Sequential(*stages), flatten=nn.Flatten(), fc=nn.Linear(channels, 1000)))
