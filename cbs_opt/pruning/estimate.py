"""Estimates, before it begins, how long pruning the blocks of a network will take.

Operations are counted from the shapes: those of running both networks, of the sums over samples, of the method (which
states them, ``MethodSpec.operations``), of the exact update and of refinement. They are divided by the speed of a
short matrix product, which is measured first.
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
"""Order of the square matrices whose product is timed, by device."""

ORDER_ELSEWHERE = 2_048
"""The same for any other device."""

SECONDS = 0.1
"""How long products are repeated: long enough to notice other programs that use the processor."""

BESIDE = 1.8
"""How many times longer than their matrix products the networks and the sums over samples take, because of attention,
element-wise operations and keeping activations; measured on a language model and a sentence encoder."""

EVALUATIONS = 4
"""How many products of all weights with H, in float64, judging a layer takes: its minimizer, and f at three points."""

BACKWARD = 3
"""What a step of refinement, forward and backward, costs in forward passes of the block."""


@dataclass(frozen=True)
class Speed:
    """Operations per second of matrix products, in float32 (``single``) and in float64 (``double``)."""

    single: float
    double: float

    @classmethod
    def measured(cls, device: torch.device) -> Speed:
        """Measure the speed of this device, which takes a fifth of a second."""
        import torch

        return cls(_speed(device, torch.float32), _speed(device, torch.float64))

    def seconds(self, work: Operations) -> float:
        """How many seconds the work takes at this speed."""
        return work.single / self.single + work.double / self.double


def operations(
    sequence: SequentialLayers, quotas: Mapping[str, NDArray[np.int64]], settings: Settings
) -> list[Operations] | None:
    """The operations that each block takes, bounds not counted; None if the method does not state its own.

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
    """The size of each group of the layer, if ``pruned`` of the layer's weights go."""
    return LayerSize(target.outputs // target.groups, target.inputs, (target.numel - pruned) / target.outputs)


def of_layer(size: LayerSize) -> Operations:
    """The operations of making a layer's problem, of the exact update and of evaluating the mask."""
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
    float((matrix @ matrix)[0, 0])  # once before it is timed, as the first is slower; float() waits for it
    started, times, passed = time.perf_counter(), 0, 0.0
    while passed < SECONDS:
        float((matrix @ matrix)[0, 0])
        times, passed = times + 1, time.perf_counter() - started
    return 2 * order**3 * times / passed
