"""About how long pruning the blocks of a network will take, said before it begins.

Operations are counted from the shapes: running both networks, the sums over samples, the method's own statement
(``MethodSpec.operations``), the exact update, refinement. They are divided by the speed of a short matrix product,
measured on the spot.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect import SequentialLayers
from cbs_opt.evaluation.catalogue import method
from cbs_opt.kernel.operations import LayerSize, Operations
from cbs_opt.kernel.stacks import operations_of_update
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch

    from cbs_opt.pruning.settings import Settings

ORDER = {"cpu": 384}
"""Of the matrices whose product is timed, by device."""

ORDER_ELSEWHERE = 2_048

SECONDS = 0.1
"""For which products are repeated: long enough to notice others who want the processor."""

BESIDE = 1.8
"""By how much running networks and sums over samples take longer than their products, measured on a language model and
a sentence encoder: attention, what is done number by number, keeping activations."""

EVALUATIONS = 4
"""Products of all weights with H in float64 that a layer is judged with: its minimizer, and f of three weights."""

BACKWARD = 3
"""A step of refinement, forward and backward, in forward passes of the block."""


@dataclass(frozen=True)
class Speed:
    """Operations a second of matrix products."""

    single: float
    double: float

    @classmethod
    def measured(cls, device: torch.device) -> Speed:
        """On this device, now; takes a fifth of a second."""
        import torch

        return cls(_speed(device, torch.float32), _speed(device, torch.float64))

    def seconds(self, work: Operations) -> float:
        """That the work takes."""
        return work.single / self.single + work.double / self.double


def operations(
    sequence: SequentialLayers, quotas: Mapping[str, NDArray[np.int64]], settings: Settings
) -> list[Operations] | None:
    """What each block takes, bounds left out; None where the method does not say what it does.

    Parameters
    ----------
    quotas : mapping of layer name to int array
        How many weights the segments of each layer lose.
    """
    of_method = method(settings.method).operations
    if of_method is None:
        return None
    found = []
    for block, running in zip(sequence.blocks, sequence.operations(), strict=True):
        work = [running.times(BESIDE)]
        for target in block.targets:
            size = layer_size(target, int(quotas[target.name].sum()))
            work += [of_group.times(target.groups) for of_group in (of_method(size), of_layer(size))]
        if settings.refine and block.end is not None:
            work.append(sequence.of_call(block).times(BESIDE * (BACKWARD * settings.refine + 1)))
        found.append(Operations().and_(*work))
    return found


def layer_size(target: Target, pruned: int) -> LayerSize:
    """Of each of the layer's groups, when so many of the layer's weights go."""
    return LayerSize(target.outputs // target.groups, target.inputs, (target.numel - pruned) / target.outputs)


def of_layer(size: LayerSize) -> Operations:
    """Making a layer's problem, the exact update and the evaluation of its mask."""
    factors = 2 * size.inputs**3 / 3  # H is positive definite, and its minimizer is needed
    products = EVALUATIONS * 2 * size.weights * size.inputs
    return operations_of_update(size).and_(Operations(double=factors + products))


def about(seconds: float) -> str:
    """A time in words: 'about 25 min'."""
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {math.ceil(seconds)} s"


def _speed(device: torch.device, dtype: torch.dtype) -> float:
    import torch

    order = ORDER.get(device.type, ORDER_ELSEWHERE)
    matrix = torch.full((order, order), 0.5, dtype=dtype, device=device)
    float((matrix @ matrix)[0, 0])  # the first one is slower; the number is waited for
    started, times, passed = time.perf_counter(), 0, 0.0
    while passed < SECONDS:
        float((matrix @ matrix)[0, 0])
        times, passed = times + 1, time.perf_counter() - started
    return 2 * order**3 * times / passed
