"""Runs a network on samples: in batches, in a precision, on its device; and draws the calibration samples."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.network.copies import sharing_parameters
from cbs_opt.network.data import Labels, calibration
from cbs_opt.network.inputs import Inputs, Samples, SamplesLike, as_samples

if TYPE_CHECKING:
    import torch

MOST_SAMPLES = 1_000
"""How many calibration samples are drawn by default, if there are so many."""

PRECISIONS = ("float32", "float64")


Precision = Literal["float32", "float64"]

ANSWERS = ("logits", "last_hidden_state")
"""The names that networks which return several things give to their main output, in order of preference."""

MOST_INPUTS = 2**18
"""The most numbers that a network on a CPU is given at once by default: 85 CIFAR images, or 334 of MNIST."""

MOST_INPUTS_ELSEWHERE = 2**23
"""The same on an accelerator: 55 ImageNet images."""

PER_INPUT = 8
"""The input of one layer, for all samples that a network is given at once, may be so many times larger than the most
numbers that the network is given. This is what limits sequences of tokens, each of which becomes a vector: to two
sequences of 512 tokens at once if layers take up to 1,536 numbers per token."""


def copy_in_precision(model: torch.nn.Module, precision: Precision | None) -> torch.nn.Module:
    """A copy of the model in eval mode whose modules may be wrapped and parameters replaced; the model stays as it is.

    If the precision is the model's own, the copy shares the memory of its parameters, which must not be written to.
    """
    tensors = [*model.parameters(), *model.buffers()]
    own = precision is None or all(str(x.dtype) == f"torch.{precision}" for x in tensors if x.is_floating_point())
    return in_precision(sharing_parameters(model) if own else copy.deepcopy(model), precision).eval()


def in_precision(model: torch.nn.Module, precision: Precision | None) -> torch.nn.Module:
    """The model, moved to a precision (None: left in its own)."""
    import torch

    if precision is None:
        return model
    if precision not in ("float32", "float64"):
        raise InputError(f"precision: is {precision!r}; there are float32 and float64")
    return model.to(getattr(torch, precision))


def batches(
    model: torch.nn.Module, samples: Samples, size: int | None = None, largest: int = 0, least: int = 1
) -> Iterator[slice]:
    """Slices of the samples, of ``size`` each or, if that is left out, of a size that suits the model's device.

    ``largest`` is the size of the largest input that a layer has for one sample, if that is known. If no ``size`` is
    given there are at least ``least`` slices, if there are so many samples.
    """
    if not len(samples):
        raise InputError("x: holds no samples; at least one is needed")
    if size is not None and size < 1:
        raise InputError(f"batch: is {size}; at least 1 is needed")
    most = MOST_INPUTS if next(model.parameters()).device.type == "cpu" else MOST_INPUTS_ELSEWHERE
    one = max(1, samples.take(slice(1)).inputs(model).numel)
    step = size or max(1, min(most // one, PER_INPUT * most // max(1, largest), len(samples) // least))
    for start in range(0, len(samples), step):
        yield slice(start, min(start + step, len(samples)))


def first_argument(positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """The input that a layer is called with, whether as ``layer(x)`` or as ``layer(input=x)``."""
    return next(iter((*positional, *named.values())), None)


def answer_of(outputs: Any) -> Any:
    """The main output of a network, a tensor.

    That is the tensor it returns; or, of several things it returns, the ``logits`` or else the ``last_hidden_state``
    (an attribute, or an entry of a dict), the first entry of a tuple, or the only entry of a dict. If there is none of
    these, ``outputs`` is returned as it is.
    """
    import torch

    if isinstance(outputs, torch.Tensor):
        return outputs
    for name in ANSWERS:
        if isinstance(getattr(outputs, name, None), torch.Tensor):
            return getattr(outputs, name)
    parts: list[Any] = []
    if isinstance(outputs, Mapping):
        parts = [outputs[name] for name in ANSWERS if name in outputs][:1] or list(outputs.values())
    elif isinstance(outputs, tuple):
        parts = list(outputs[:1])
    return parts[0] if len(parts) == 1 and isinstance(parts[0], torch.Tensor) else outputs


def class_scores(outputs: Any, labels: NDArray[Any] | None = None, *, otherwise: str = "") -> torch.Tensor:
    """A network's main output, which must be class scores (m, classes), with one class for each of the ``labels``.

    Raises
    ------
    InputError
        It is not; ``otherwise`` says what else would do.
    """
    import torch

    scores = answer_of(outputs)
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
        shape = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(outputs).__name__
        raise InputError(f"the network's output has shape {shape}; class scores (m, classes) are needed{otherwise}")
    if labels is not None and (labels.min() < 0 or labels.max() >= scores.shape[1]):
        raise InputError(
            f"y: holds labels from {labels.min()} to {labels.max()}, but the network has {scores.shape[1]} outputs"
        )
    return scores


def check_finite(values: torch.Tensor, numbers: NDArray[np.int64], what: str) -> None:
    """Raise unless the values of every sample are finite.

    Parameters
    ----------
    values : tensor, shape (batch, ...)
        One row for each sample, or equally many rows for each, one sample after the other.
    numbers : int array, shape (samples,)
        The numbers by which the error names the samples.
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
        raise InputError(
            f"{what} for sample {of_row(row, len(values), numbers)} is not finite; look at this sample "
            "and at the network's weights"
        )


def of_row(row: int, rows: int, numbers: NDArray[np.int64]) -> int:
    """The number of the sample that ``row`` belongs to; all samples have equally many of the ``rows``, in order."""
    return int(numbers[row * len(numbers) // rows])


def run(model: torch.nn.Module, samples: Samples) -> Any:
    """What the network returns for the samples; see ``answer``."""
    return answer(model, samples.inputs(model))


def answer(model: torch.nn.Module, inputs: Inputs) -> Any:
    """What the network returns for the inputs.

    Raises
    ------
    InputError
        The network cannot take such samples.
    """
    try:
        return inputs.call(model)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"x: the network cannot take samples of {inputs.shape()} ({error})") from error


def first_calls(
    model: torch.nn.Module,
    samples: Samples,
    names: Iterable[str],
    answered: Callable[[torch.nn.Module, Samples], Any] = run,
) -> dict[str, int]:
    """For each of the modules ``names``, the position of the first sample for which the network calls it.

    The network is in eval mode. Modules that it calls for no sample are left out; only if there are any, the network
    is run on all samples.

    Parameters
    ----------
    answered : callable
        Runs the network on some samples; left out, it runs on the device of its first parameter.
    """
    import torch

    found: dict[str, int] = {}
    seen: set[str] = set()
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(lambda module, args, name=name: seen.add(name))
        for name in set(names)
    ]

    def called(which: slice) -> set[str]:
        seen.clear()
        answered(model, samples.take(which))
        return seen - found.keys()

    first = itertools.chain([slice(1)], batches(model, samples))  # mostly one sample calls them all
    try:
        with torch.no_grad():
            for part in first:
                if len(found) == len(hooks):
                    break
                if called(part):
                    for number in range(part.start or 0, part.stop):
                        found |= dict.fromkeys(called(slice(number, number + 1)), number)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def accuracy(model: torch.nn.Module, x: SamplesLike, y: Labels, *, batch: int | None = None) -> float:
    """Fraction of the samples whose largest class score is at their label, from 0 to 1.

    The network computes in its own precision, on its own device.

    Parameters
    ----------
    model : torch.nn.Module
        The network. It is put into eval mode; its weights stay as they are.
    x : array, shape (m, ...), or other samples
        The samples, as ``cbs_opt.prune`` takes them.
    y : array, shape (m,)
        Their labels, from 0 on.
    batch : int, optional
        How many samples the network is given at once; left out, as many as suit its device (on a CPU, so few that
        their activations about fit its cache).
    """
    import torch

    model.eval()
    samples, correct = as_samples(x), 0
    with torch.inference_mode():
        for part in batches(model, samples, batch):
            scores = class_scores(run(model, samples.take(part)))
            correct += int((scores.argmax(dim=1).cpu().numpy() == y[part]).sum())
    return correct / len(y)


def calibrating(
    data: Any, samples: int | None, needs_labels: bool = True, classes: bool = True
) -> tuple[Samples, Any, int]:
    """Samples and labels from ``data``, as ``data.calibration`` returns them, and how many samples to draw.

    That is ``samples``; if it is None, ``MOST_SAMPLES``, or all if there are fewer.
    """
    most = MOST_SAMPLES if samples is None else samples
    x, y = calibration(data, needs_labels=needs_labels, classes=classes, most=most)
    return x, y, min(most, len(x)) if samples is None else samples


def clipped(samples: int, there: int, average: int = 1) -> tuple[int, tuple[str, ...]]:
    """How many of the ``there`` samples are drawn: ``samples``, or, with a note, all if there are fewer.

    Raises
    ------
    InputError
        ``samples`` is no whole number of at least 1, or the samples are fewer than the ``average`` of one row.
    """
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or samples < 1:
        raise InputError(f"samples: is {samples!r}; a whole number of at least 1 is needed")
    number = min(int(samples), there)
    if number < average:
        raise InputError(f"average: is {average}, but there are {number} samples to average; give more samples")
    fewer = (f"{samples:,} samples were wanted; all {there:,} that there are were taken",) if number < samples else ()
    return number, fewer


def draw(there: int, samples: int, seed: int) -> NDArray[np.int64]:
    """Draw the positions of ``samples`` of the ``there`` samples, without replacement; all, if there are fewer.

    Raises
    ------
    InputError
        Not even one sample is asked for.
    """
    return np.random.default_rng(seed).permutation(there)[: clipped(samples, there)[0]]


class Drawn(NamedTuple):
    """Calibration samples, their labels, and the numbers by which errors name them.

    Parameters
    ----------
    x : Samples
        The m samples.
    y : array, shape (m, ...)
        Their labels; None without labels.
    numbers : int array, shape (m,)
        Their positions in the data that they were drawn from.
    """

    x: Samples
    y: Any
    numbers: NDArray[np.int64]


def drawn(x: SamplesLike, y: NDArray[Any] | None, samples: int, seed: int) -> Drawn:
    """The samples that ``draw`` draws."""
    given = as_samples(x)
    chosen = draw(len(given), samples, seed)
    return Drawn(given.take(chosen), None if y is None else y[chosen], chosen)
