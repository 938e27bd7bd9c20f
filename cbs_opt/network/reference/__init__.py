"""The reference networks of the pruning literature by name: how they are built and how their images are scaled.

Each network has its own file, and the parameter names of published checkpoints. Only ``digits`` comes with weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cbs_opt.network.reference.cifarnet import cifarnet
from cbs_opt.network.reference.digits import digits_mlp, digits_weights
from cbs_opt.network.reference.mlpnet import mlpnet
from cbs_opt.network.reference.mobilenet import mobilenet
from cbs_opt.network.reference.resnet20 import resnet20
from cbs_opt.network.reference.resnet50 import resnet50
from cbs_opt.network.reference.scaling import gray_images, rgb_images

if TYPE_CHECKING:
    import torch

__all__ = ["NETWORKS", "NamedNetwork", "cifarnet", "mlpnet", "mobilenet", "resnet20", "resnet50"]


@dataclass(frozen=True)
class NamedNetwork:
    """A network that this package knows by name.

    Parameters
    ----------
    build : callable
        Builds the untrained network.
    weights : callable or None
        Returns the embedded weights by name; None if there are none.
    scale : callable
        Scales images as they are stored (integers, as a float array) to what the network takes.
    """

    build: Callable[[], torch.nn.Module]
    weights: Callable[[], dict[str, torch.Tensor]] | None
    scale: Callable[[NDArray[Any]], NDArray[Any]]


_CIFAR = rgb_images((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_IMAGENET = rgb_images((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

NETWORKS: Mapping[str, NamedNetwork] = {
    "digits": NamedNetwork(digits_mlp, digits_weights, lambda x: x / 16),
    "mlpnet": NamedNetwork(mlpnet, None, gray_images(0.1307, 0.3081)),
    "cifarnet": NamedNetwork(cifarnet, None, _CIFAR),
    "resnet20": NamedNetwork(resnet20, None, rgb_images((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))),
    "mobilenet": NamedNetwork(mobilenet, None, _IMAGENET),
    "resnet50": NamedNetwork(resnet50, None, _IMAGENET),
}
