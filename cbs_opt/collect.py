"""What curvature is made of: per-sample gradients and layer inputs, in float64."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.network import Labels
from cbs_opt.validate import Matrix

if TYPE_CHECKING:
    import torch

MAX_BYTES = 8 * 2**30
"""Most memory the collected gradients may take."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """Per-sample gradients with respect to entries of one weight tensor.

    Parameters
    ----------
    rows : array, shape (m, k)
        One sample a row, one collected entry of the flattened tensor a column.
    mean_square : float
        Mean of the squared gradients over the samples and *all* entries of the tensor: the mean diagonal
        of its empirical Fisher.
    """

    rows: Matrix
    mean_square: float


def gradients(
    model: torch.nn.Module,
    x: NDArray[Any],
    y: Labels,
    entries: Mapping[str, NDArray[np.int64]],
    *,
    batch: int = 100,
) -> dict[str, Gradients]:
    """Gradients of each sample's cross-entropy at its true label, in eval mode.

    Parameters
    ----------
    model : torch.nn.Module
        Left as it is; a float64 copy is differentiated.
    x : array, shape (m, ...)
    y : int64 array, shape (m,)
    entries : mapping of tensor name to array, shape (k,)
        Which entries of the flattened tensor to collect.

    Raises
    ------
    InputError
        A gradient that is not finite (names the sample and the tensor), a label without an output.
    TooLargeError
        More than ``MAX_BYTES`` would be collected.
    """
    import torch
    from torch.func import functional_call, grad, vmap

    m = len(y)
    needed = 8 * m * sum(len(chosen) for chosen in entries.values())
    if needed > MAX_BYTES:
        raise TooLargeError(f"the gradients of {m} samples would take {needed / 1e9:,.0f} GB; use fewer samples, or "
                            "fewer blocks")
    double = copy.deepcopy(model).double().eval()
    state = {name: tensor.detach() for name, tensor in (*double.named_parameters(), *double.named_buffers())}
    chosen_parameters = {name: state[name] for name in entries}

    def loss(parameters: dict[str, torch.Tensor], sample: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        outputs = functional_call(double, {**state, **parameters}, (sample[None],))
        return torch.nn.functional.cross_entropy(outputs, label[None])

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0))
    columns = {name: torch.from_numpy(chosen) for name, chosen in entries.items()}
    rows = {name: np.empty((m, len(chosen))) for name, chosen in entries.items()}
    squares = dict.fromkeys(entries, 0.0)
    for start in range(0, m, batch):
        part = slice(start, start + batch)
        labels = torch.from_numpy(y[part])
        inputs = torch.from_numpy(x[part]).double()
        _check_labels(double, inputs, labels)
        for name, gradient in per_sample(chosen_parameters, inputs, labels).items():
            flat = gradient.flatten(1)
            bad = ~flat.isfinite().all(dim=1)
            if bool(bad.any()):
                sample = start + int(bad.nonzero()[0, 0])
                raise InputError(f"the gradient of sample {sample} with respect to {name} is not finite; "
                                 "look at this sample and at the network's weights")
            squares[name] += float((flat * flat).mean(dim=1).sum())
            rows[name][part] = flat[:, columns[name]].numpy()
    return {name: Gradients(rows[name], squares[name] / m) for name in entries}


def layer_inputs(
    model: torch.nn.Module, x: NDArray[Any], layers: Sequence[str], *, batch: int = 1_000
) -> dict[str, Matrix]:
    """The inputs X (m, in_features) of ``torch.nn.Linear`` layers, in eval mode.

    Raises
    ------
    InputError
        A layer that is not a Linear, or does not see one vector a sample, or whose inputs are not finite.
    """
    import torch

    double = copy.deepcopy(model).double().eval()
    seen: dict[str, list[Matrix]] = {name: [] for name in layers}
    for name in layers:
        layer = double.get_submodule(name)
        if not isinstance(layer, torch.nn.Linear):
            raise InputError(f"layer {name}: is a {type(layer).__name__}; only torch.nn.Linear has rows of inputs")

        def keep(_: torch.nn.Module, args: tuple[torch.Tensor, ...], __: Any, name: str = name) -> None:
            seen[name].append(args[0].numpy())

        layer.register_forward_hook(keep)
    with torch.inference_mode():
        for start in range(0, len(x), batch):
            double(torch.from_numpy(x[start : start + batch]).double())
    result = {}
    for name, parts in seen.items():
        if not parts or parts[0].ndim != 2 or sum(len(part) for part in parts) != len(x):
            raise InputError(f"layer {name}: does not see exactly one vector a sample; its inputs make no Gram matrix")
        result[name] = np.concatenate(parts)
        bad = ~np.isfinite(result[name]).all(axis=1)
        if bad.any():
            raise InputError(f"layer {name}: its input for sample {int(bad.argmax())} is not finite; "
                             "look at this sample and at the network's weights")
    return result


def _check_labels(model: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Raise unless the network gives class scores and every label is one of the classes."""
    import torch

    with torch.inference_mode():
        try:
            outputs = model(inputs)
        except RuntimeError as error:
            shape = tuple(inputs.shape[1:])
            raise InputError(f"x: the network cannot take samples of shape {shape} ({error})") from None
    if outputs.ndim != 2:
        raise InputError(f"the network's output has shape {tuple(outputs.shape)}; class scores (m, classes) are needed")
    if bool((labels < 0).any()) or bool((labels >= outputs.shape[1]).any()):
        raise InputError(f"y: holds labels from {int(labels.min())} to {int(labels.max())}, but the network has "
                         f"{outputs.shape[1]} outputs")
