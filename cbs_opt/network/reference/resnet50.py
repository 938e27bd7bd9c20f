"""ResNet50 for ImageNet (He et al. 2016, table 1), parameters named as in torchvision.

The stride of a stage is on its first 3×3 convolution, as in torchvision ('v1.5'), not on the 1×1 before it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from cbs_opt.network.reference.residual import residual, shortcut

if TYPE_CHECKING:
    import torch

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Inner channels, blocks and stride of the four stages; a block gives four times its inner channels."""


def resnet50() -> torch.nn.Module:
    """3×224×224 → 1000 classes, 25.6 million parameters."""
    from torch import nn

    def block(inputs: int, inner: int, stride: int) -> nn.Module:
        branch: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(inputs, inner, 1, bias=False),
            bn1=nn.BatchNorm2d(inner),
            relu1=nn.ReLU(inplace=True),
            conv2=nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False),
            bn2=nn.BatchNorm2d(inner),
            relu2=nn.ReLU(inplace=True),
            conv3=nn.Conv2d(inner, 4 * inner, 1, bias=False),
            bn3=nn.BatchNorm2d(4 * inner),
        )
        return residual(branch, shortcut(inputs, 4 * inner, stride))

    stages: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 64
    for number, (inner, blocks, stride) in enumerate(STAGES, start=1):
        first = block(channels, inner, stride)
        channels = 4 * inner
        stages[f"layer{number}"] = nn.Sequential(first, *(block(channels, inner, 1) for _ in range(blocks - 1)))
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 64, 7, 2, padding=3, bias=False),
            bn1=nn.BatchNorm2d(64),
            relu=nn.ReLU(inplace=True),
            maxpool=nn.MaxPool2d(3, 2, padding=1),
            **stages,
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(channels, 1000),
        )
    )
