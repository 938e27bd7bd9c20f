"""Per-sample gradients: for chosen entries in float64, or for whole tensors as the factor of an empirical Fisher."""

from __future__ import annotations

import copy
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect.memory import available_memory
from cbs_opt.collect.per_sample import Loss, RowGradients
from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.kernel.arrays.types import Matrix
from cbs_opt.kernel.curvature import FactorCurvature, resolve_damping
from cbs_opt.network.inputs import SamplesLike, as_samples
from cbs_opt.network.samples import Precision, in_precision
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import os

    import torch

MAX_BYTES = 8 * 2**30
"""The most memory that the gradients of chosen entries may take, in bytes."""


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


@dataclass(frozen=True, eq=False)
class GradientFactor:
    """The factor A = G/√m of an empirical Fisher AᵀA, G being m gradient rows.

    Parameters
    ----------
    A : array, shape (m, n)
        float32 or float64, in memory or mapped from a temporary file that is deleted with this object. The columns are
        the flattened tensors one after the other.
    columns : mapping of tensor name to slice
        The columns that belong to each tensor.
    samples : int array, shape (m, B)
        The positions of the samples that each row was made from.
    mean_square : mapping of tensor name to float
        Mean of the squared entries of G: the mean diagonal of the tensor's Fisher.
    notes : tuple of str
        The precision, then what was altered or looks wrong.
    """

    A: NDArray[Any]
    columns: Mapping[str, slice]
    samples: NDArray[np.int64]
    mean_square: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def precision(self) -> str:
        """The precision in which the network computed and A is stored: 'float32' or 'float64'."""
        return str(self.A.dtype)

    def curvature(self, *, damping: float | None = None, dampening_frac: float | None = None) -> FactorCurvature:
        """AᵀA + λI over all columns; λ given, or as a fraction of the mean diagonal."""
        sizes = {name: columns.stop - columns.start for name, columns in self.columns.items()}
        total = sum(self.mean_square[name] * size for name, size in sizes.items())
        return FactorCurvature(self.A, resolve_damping(damping, dampening_frac, total / sum(sizes.values())))


def gradients(
    model: torch.nn.Module,
    x: SamplesLike,
    y: NDArray[Any],
    entries: Mapping[str, NDArray[np.int64]],
    *,
    chunk: int | None = None,
) -> dict[str, Gradients]:
    """Gradients of each sample's cross-entropy at its true label, in eval mode and float64.

    Parameters
    ----------
    model : torch.nn.Module
        The network, which stays as it is; a float64 copy is differentiated.
    x : array, shape (m, ...), or other samples (``cbs_opt.network.inputs``)
        The samples.
    y : int64 array, shape (m,)
        Their labels.
    entries : mapping of tensor name to array, shape (k,)
        Which entries of the flattened tensor to collect.
    chunk : int, optional
        How many samples to differentiate at once; as many as fit the memory if left out.

    Raises
    ------
    InputError
        A gradient is not finite (names the sample and the tensor), or a label has no output.
    TooLargeError
        The gradients would take more than ``MAX_BYTES``.
    """
    import torch

    m = len(y)
    needed = 8 * m * sum(len(chosen) for chosen in entries.values())
    if needed > MAX_BYTES:
        raise TooLargeError(
            f"the gradients of {m} samples would take {needed / 1e9:,.0f} GB; use fewer samples, or fewer blocks"
        )
    double = copy.deepcopy(model).double().eval()
    columns = {name: torch.from_numpy(chosen) for name, chosen in entries.items()}
    rows = {name: np.empty((m, len(chosen))) for name, chosen in entries.items()}
    squares = dict.fromkeys(entries, 0.0)
    for part, found in RowGradients(double, as_samples(x), y, np.arange(m)[:, None], tuple(entries), None, chunk):
        for name, gradient in found.items():
            squares[name] += _mean_square(gradient) * len(gradient)
            rows[name][part] = gradient[:, columns[name].to(gradient.device)].cpu().numpy()
    return {name: Gradients(rows[name], squares[name] / m) for name in entries}


def gradient_factor(
    model: torch.nn.Module,
    x: SamplesLike,
    y: NDArray[Any],
    tensors: Iterable[str | Target],
    *,
    rows: int | None = None,
    average: int = 1,
    seed: int = 0,
    loss: Loss | None = None,
    precision: Precision = "float32",
    chunk: int | None = None,
    memory: float | None = None,
    folder: str | os.PathLike[str] | None = None,
    numbers: NDArray[np.int64] | None = None,
) -> GradientFactor:
    """The factor of the empirical Fisher of whole tensors, in eval mode, on the model's device.

    Parameters
    ----------
    model : torch.nn.Module
        The network, which stays as it is; a copy is differentiated.
    x : array, shape (samples, ...), or other samples (``cbs_opt.network.inputs``)
        The samples.
    y : array, shape (samples, ...)
        Their labels.
    tensors : names of parameters, or targets from ``find_targets``
        The tensors to differentiate by, in the order of the columns.
    rows : int, optional
        m, the number of rows. Their samples are drawn without replacement; left out, all samples are used.
    average : int
        B, the number of samples per row: a row is √B times the gradient of their mean loss (see ``per_sample``).
    seed : int
        Seed of the draw.
    loss : callable, optional
        (outputs, labels) → scalar, the mean over the samples it is given; cross-entropy if left out.
    precision : 'float32' or 'float64'
        The precision in which the network computes and the rows are stored.
    chunk : int, optional
        How many rows to compute at once; as many as fit the memory if left out.
    memory : float, optional
        The most bytes that the rows may take in memory (half of what is free, if left out); beyond it they are in a
        file.
    folder : path, optional
        The folder for that file; the system's folder for temporary files if left out.
    numbers : int array, shape (samples,), optional
        The numbers by which errors name the samples; their positions in ``x`` if left out.

    Raises
    ------
    InputError
        More samples are asked for than there are, a label has no output, or a gradient is not finite.
    TooLargeError
        Neither memory nor disk can hold the rows, or ``chunk`` rows do not fit (names a number that does).
    """
    names = tuple(tensor.tensor if isinstance(tensor, Target) else tensor for tensor in tensors)
    if not names or len(set(names)) < len(names):
        raise InputError(f"tensors: are {', '.join(names) or 'none'}; name each tensor to collect once")
    given = as_samples(x)
    drawn = _draw(len(given), len(y), rows, average, seed)
    network = in_precision(copy.deepcopy(model), precision).eval()
    source = RowGradients(network, given, y, drawn, names, loss, chunk, numbers)
    parameters = dict(network.named_parameters())
    columns, start = {}, 0
    for name in names:
        columns[name] = slice(start, start + parameters[name].numel())
        start = columns[name].stop
    A, notes, file = _room(len(drawn), start, precision, memory, folder)
    try:
        squares = dict.fromkeys(names, 0.0)
        for part, found in source:
            for name, gradient in found.items():
                squares[name] += _mean_square(gradient) * len(gradient) / len(drawn)
                A[part, columns[name]] = (gradient / sqrt(len(drawn))).cpu().numpy()
    except BaseException:
        _remove(file)
        raise
    notes += source.notes
    dead = [name for name in names if squares[name] == 0]
    notes += [f"{name}: all its gradients are zero on these samples (a dead layer)" for name in dead]
    result = GradientFactor(A, columns, drawn, squares, tuple(notes))
    if file is not None:
        weakref.finalize(result, _remove, file)
    return result


def _draw(samples: int, labels: int, rows: int | None, average: int, seed: int) -> NDArray[np.int64]:
    if samples != labels:
        raise InputError(f"y: has {labels} labels for {samples} samples; one label a sample is needed")
    if average < 1 or (rows is not None and rows < 1):
        raise InputError(f"rows and average: are {rows} and {average}; at least 1 is needed")
    m = samples // average if rows is None else rows
    if m * average > samples or m == 0:
        needed = (rows or 1) * average
        raise InputError(f"rows: {rows or 1} of {average} samples each need {needed}, but there are {samples}")
    if rows is None and average == 1:
        return np.arange(m)[:, None]
    return np.random.default_rng(seed).choice(samples, m * average, replace=False).reshape(m, average)


def _room(
    m: int, n: int, precision: Precision, memory: float | None, folder: str | os.PathLike[str] | None
) -> tuple[NDArray[Any], list[str], Path | None]:
    """An empty array (m, n) in memory or on disk, the notes about it, and the folder of its file if there is one."""
    notes = [f"gradients in {precision}"]
    needed = m * n * np.dtype(precision).itemsize
    if needed <= (available_memory() / 2 if memory is None else memory):
        return np.empty((m, n), dtype=precision), notes, None
    place = Path(folder or tempfile.gettempdir())
    if not place.is_dir():
        raise InputError(f"folder: {place} is no folder; name one for the {needed / 1e9:.1f} GB of gradients")
    free = shutil.disk_usage(place).free
    if free < needed:
        raise TooLargeError(
            f"folder: {place} has {free / 1e9:.1f} GB free, but {m} rows of {n} gradients take "
            f"{needed / 1e9:.1f} GB; use fewer rows, or name another folder"
        )
    own = Path(tempfile.mkdtemp(prefix="cbs-opt-", dir=place))
    A = np.memmap(own / "gradients", dtype=precision, mode="w+", shape=(m, n))
    return A, [*notes, f"the {needed / 1e9:.1f} GB of gradients lie in a file in {place}"], own


def _remove(file: Path | None) -> None:
    if file is not None:
        shutil.rmtree(file, ignore_errors=True)


def _mean_square(gradient: torch.Tensor) -> float:
    import torch

    norm = float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
    return norm * norm / gradient.numel()
