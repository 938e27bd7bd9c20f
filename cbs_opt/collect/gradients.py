"""Per-sample gradients: of chosen entries in float64, or of whole tensors as the factor of an empirical Fisher."""

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
"""Most memory the gradients of chosen entries may take."""


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
        float32 or float64, in memory or mapped from a temporary file that goes with this object. Columns are the
        flattened tensors one after the other.
    columns : mapping of tensor name to slice
        Which columns belong to which tensor.
    samples : int array, shape (m, B)
        Which samples made each row.
    mean_square : mapping of tensor name to float
        Mean of the squared entries of G: the mean diagonal of the tensor's Fisher.
    notes : tuple of str
        What was altered or looks wrong, the precision first.
    """

    A: NDArray[Any]
    columns: Mapping[str, slice]
    samples: NDArray[np.int64]
    mean_square: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def precision(self) -> str:
        """What the network computed in and A is stored in: 'float32' or 'float64'."""
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
        Left as it is; a float64 copy is differentiated.
    x : array, shape (m, ...), or other samples (``cbs_opt.network.inputs``)
    y : int64 array, shape (m,)
    entries : mapping of tensor name to array, shape (k,)
        Which entries of the flattened tensor to collect.
    chunk : int, optional
        Samples at once; as many as memory takes if left out.

    Raises
    ------
    InputError
        A gradient that is not finite (names the sample and the tensor), a label without an output.
    TooLargeError
        More than ``MAX_BYTES`` would be collected.
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
        Left as it is; a copy is differentiated.
    x : array, shape (samples, ...), or other samples (``cbs_opt.network.inputs``)
    y : array, shape (samples, ...)
        Labels.
    tensors : names of parameters, or targets from ``find_targets``
        In the order of the columns.
    rows : int, optional
        m. Samples are drawn without replacement; left out, all are used.
    average : int
        B, samples per row: a row is √B times the gradient of their mean loss (see ``per_sample``).
    seed : int
        Of the draw.
    loss : callable, optional
        (outputs, labels) → scalar, the mean over the samples it is given; cross-entropy if left out.
    precision : 'float32' or 'float64'
        What the network computes in and the rows are stored in.
    chunk : int, optional
        Rows computed at once; as many as memory takes if left out.
    memory : float, optional
        Most bytes the rows may take in memory (half of what is free, if left out); beyond it they lie in a file.
    folder : path, optional
        Where that file is made; the system's folder for temporary files if left out.
    numbers : int array, shape (samples,), optional
        What errors call the samples; their positions in ``x`` if left out.

    Raises
    ------
    InputError
        More samples asked for than there are, a label without an output, a gradient that is not finite.
    TooLargeError
        Neither memory nor disk hold the rows, or a chunk that does not fit (names one that does).
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
    """An array (m, n) in memory or on disk, what to note, and the file's folder if there is one."""
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
