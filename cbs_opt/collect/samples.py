"""Feeding calibration samples to a network: batches, precision, device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "float64"]

MOST_INPUTS = 2**18
"""Most numbers fed to a network at once on a processor, where not told otherwise: 85 CIFAR images, 334 of MNIST."""

MOST_INPUTS_ELSEWHERE = 2**23
"""The same on an accelerator: 55 ImageNet images."""


def in_precision(model: torch.nn.Module, precision: Precision | None) -> torch.nn.Module:
    """The model, moved to a precision (None: left in its own)."""
    import torch

    if precision is None:
        return model
    if precision not in ("float32", "float64"):
        raise InputError(f"precision: is {precision!r}; there are float32 and float64")
    return model.to(getattr(torch, precision))


def batches(model: torch.nn.Module, x: NDArray[Any], size: int | None = None) -> Iterator[slice]:
    """Slices of the samples, ``size`` at a time; left out, what suits the model's device."""
    if not len(x):
        raise InputError("x: holds no samples; at least one is needed")
    if size is not None and size < 1:
        raise InputError(f"batch: is {size}; at least 1 is needed")
    most = MOST_INPUTS if next(model.parameters()).device.type == "cpu" else MOST_INPUTS_ELSEWHERE
    step = size or max(1, most // max(1, int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), step):
        yield slice(start, min(start + step, len(x)))


def as_inputs(model: torch.nn.Module, x: NDArray[Any]) -> torch.Tensor:
    """Samples as a tensor on the model's device; floats in the model's precision, integers (tokens) as they are."""
    import torch

    weight = next(model.parameters())
    inputs = torch.from_numpy(np.ascontiguousarray(x)).to(weight.device)
    return inputs.to(weight.dtype) if inputs.is_floating_point() else inputs


def class_scores(outputs: Any, labels: NDArray[Any] | None = None, *, otherwise: str = "") -> torch.Tensor:
    """A network's outputs, which must be class scores (m, classes), one for each of the labels where they are given.

    Raises
    ------
    InputError
        They are not; ``otherwise`` says what else would do.
    """
    import torch

    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2:
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise InputError(f"the network's output has shape {shape}; class scores (m, classes) are needed{otherwise}")
    if labels is not None and (labels.min() < 0 or labels.max() >= outputs.shape[1]):
        raise InputError(f"y: holds labels from {labels.min()} to {labels.max()}, but the network has "
                         f"{outputs.shape[1]} outputs")
    return outputs


def check_finite(values: torch.Tensor, numbers: NDArray[np.int64], what: str) -> None:
    """Raise unless the values of every sample are finite.

    Parameters
    ----------
    values : tensor, shape (batch, ...)
        As many rows as samples, or as many for each of them, one sample after the other.
    numbers : int array, shape (samples,)
        What the error calls the samples.
    what : str
        What the values are: 'layer fc1: its input'.

    Raises
    ------
    InputError
        Names the first bad sample.
    """
    bad = ~values.isfinite()
    if bool(bad.any()):
        row = int(bad.flatten(1).any(dim=1).nonzero()[0, 0])
        raise InputError(f"{what} for sample {of_row(row, len(values), numbers)} is not finite; look at this sample "
                         "and at the network's weights")


def of_row(row: int, rows: int, numbers: NDArray[np.int64]) -> int:
    """The number of the sample that a row belongs to, of as many rows for each sample, one sample after the other."""
    return int(numbers[row * len(numbers) // rows])


def run(model: torch.nn.Module, x: NDArray[Any]) -> Any:
    """The network's outputs for samples x.

    Raises
    ------
    InputError
        The network cannot take samples of this shape.
    """
    inputs = as_inputs(model, x)
    try:
        return model(inputs)
    except (RuntimeError, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"x: the network cannot take samples of shape {x.shape[1:]} ({error})") from error
