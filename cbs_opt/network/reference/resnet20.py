"""ResNet20 for CIFAR-10 (He et al. 2016, section 4.2), shortcuts of 1×1 convolutions (their option B)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from cbs_opt.network.reference.residual import residual, shortcut

if TYPE_CHECKING:
    import torch


def resnet20() -> torch.nn.Module:
    """3×32×32 → three stages of three blocks with 16, 32 and 64 channels → 10.

    268,336 weights in the nineteen 3×3 convolutions and ``fc``; 2,560 in the two shortcuts.
    """
    from torch import nn

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        branch: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            bn1=nn.BatchNorm2d(outputs),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            bn2=nn.BatchNorm2d(outputs),
        )
        return residual(branch, shortcut(inputs, outputs, stride))

    def stage(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(block(inputs, outputs, stride), block(outputs, outputs, 1), block(outputs, outputs, 1))

    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 16, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(16),
            relu=nn.ReLU(),
            layer1=stage(16, 16, 1),
            layer2=stage(16, 32, 2),
            layer3=stage(32, 64, 2),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(64, 10),
        )
    )
