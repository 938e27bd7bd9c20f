"""CIFARNet for CIFAR-10: three 5×5 convolutions without biases, as in the experiments of CBS (Yu et al. 2022)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cifarnet() -> torch.nn.Module:
    """3×32×32 → 32 → 32 → 64 channels → 64 → 10."""
    from torch import nn

    def convolution(inputs: int, outputs: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, 5, padding=2, bias=False)

    return nn.Sequential(
        OrderedDict(
            conv1=convolution(3, 32),
            pool1=nn.MaxPool2d(3, 2),
            relu1=nn.ReLU(),
            conv2=convolution(32, 32),
            relu2=nn.ReLU(),
            pool2=nn.AvgPool2d(3, 2),
            conv3=convolution(32, 64),
            relu3=nn.ReLU(),
            pool3=nn.AvgPool2d(3, 2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(576, 64),
            relu4=nn.ReLU(),
            fc2=nn.Linear(64, 10),
        )
    )
