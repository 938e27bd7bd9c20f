"""MLPNet for MNIST, the smallest network of WoodFisher (Singh and Alistarh 2020), CBS and CHITA."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def mlpnet() -> torch.nn.Module:
    """784-40-20-10, ReLU, no biases: 32,360 weights."""
    from torch import nn

    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(784, 40, bias=False),
            relu1=nn.ReLU(),
            fc2=nn.Linear(40, 20, bias=False),
            relu2=nn.ReLU(),
            fc3=nn.Linear(20, 10, bias=False),
        )
    )
