"""Samples and labels that a network is pruned, tested and calibrated with."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.kernel.display import Card, Displayed
from cbs_opt.network.gathered import comes_in_batches, gathered, without_labels
from cbs_opt.network.inputs import Arrays, Samples, as_array, as_samples, can_be_samples
from cbs_opt.network.reference import NETWORKS
from cbs_opt.network.reference.digits import digits_parts

Images = NDArray[np.float32]

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class Data(Displayed):
    """Labelled samples, as a network takes them.

    Parameters
    ----------
    train_x : float32 array, shape (m, ...)
        The samples that curvature is collected from.
    train_y : int64 array, shape (m,)
        Their labels, from 0 on.
    test_x, test_y
        The samples that accuracy is measured on, and their labels, as above.
    """

    train_x: Images
    train_y: Labels
    test_x: Images
    test_y: Labels

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            x, y = getattr(self, f"{part}_x"), getattr(self, f"{part}_y")
            if y.ndim != 1 or len(x) != len(y) or not len(y):
                raise InputError(f"{part}_y: has shape {y.shape} for {len(x)} samples; one label a sample is needed")
            if not np.isfinite(x).all():
                first = np.argwhere(~np.isfinite(x))[0]
                raise InputError(f"{part}_x: entry {tuple(map(int, first))} is not finite; all entries must be")

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth saying of the samples: that accuracy is measured on those that curvature is collected from."""
        same = np.array_equal(self.test_x, self.train_x)
        return ("the same samples serve for curvature and accuracy",) if same else ()

    def _card(self) -> Card:
        classes = len(np.union1d(self.train_y, self.test_y))
        parts = {"training": (self.train_x, self.train_y), "test": (self.test_x, self.test_y)}
        return Card(
            f"{len(self.train_x):,} training and {len(self.test_x):,} test samples of shape {self.train_x.shape[1:]}, "
            f"{classes:,} classes",
            headings=("part", "samples", "of shape", "values", "labels"),
            rows=[
                (
                    part,
                    f"{len(x):,}",
                    str(x.shape[1:]),
                    f"{x.min():.3g} to {x.max():.3g}" if x.size else "none",
                    f"{y.min()} to {y.max()}",
                )
                for part, (x, y) in parts.items()
            ],
        )


def digits_data() -> Data:
    """The handwritten digits that come with the package (scikit-learn's 8×8 images), training and test part."""
    parts = digits_parts()
    return Data(*parts["train"], *parts["test"])


def load_data(path: str | os.PathLike[str], network: str = "") -> Data:
    """Samples with labels from an ``.npz`` with train_x, train_y, test_x, test_y, or with x and y serving as both.

    Images of an integer type are scaled as the named ``network`` takes them (colour images (m, height, width, 3)
    become (m, 3, height, width)), or to [0, 1] for any other network; images of a float type are taken as they are.

    Parameters
    ----------
    path : path
        The file.
    network : str
        A name that ``load_network`` knows.

    Raises
    ------
    InputError
        The file cannot be read, an array is missing or of the wrong type, or its numbers are not finite.
    """
    data = load_samples(path, network)
    if not isinstance(data, Data):
        raise InputError(f"{path}: y is missing; labels are needed here, one whole number for each sample of x")
    return data


def load_samples(path: str | os.PathLike[str], network: str = "") -> Data | Images:
    """What ``load_data`` reads; of a file with x and no labels, these samples.

    Raises
    ------
    InputError
        As ``load_data``, but that labels are missing.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        with np.load(file, allow_pickle=False) as archive:
            of_torch = any(name.endswith("data.pkl") for name in archive.files)
            names = [n for n in ("train_x", "train_y", "test_x", "test_y", "x", "y") if n in archive.files]
            arrays = {name: archive[name] for name in names}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise InputError(
            f"{file}: cannot be read as data ({type(error).__name__}); write it with numpy.savez, plain "
            "arrays only; pickled objects are never loaded"
        ) from error
    if of_torch:
        raise InputError(f"{file}: is a file of torch.save, which is not read as data; write it with numpy.savez")
    alone = set(arrays) == {"x"}
    needed: tuple[str, ...] = ("train_x", "train_y", "test_x", "test_y")
    if alone:
        needed = ("x",)
    elif {"x", "y"} <= set(arrays):
        needed = ("x", "y", "x", "y")
    for name in needed:
        if name not in arrays:
            raise InputError(
                f"{file}: {name} is missing; data needs train_x, train_y, test_x and test_y, or x and y; "
                "x alone where no labels are needed"
            )
        kinds = "iu" if name.endswith("y") else "fiu"
        if arrays[name].dtype.kind not in kinds:
            raise InputError(
                f"{file}: {name} has dtype {arrays[name].dtype}; "
                f"{'integer labels' if kinds == 'iu' else 'numbers'} are needed"
            )
    scale = NETWORKS[network].scale if network in NETWORKS else lambda x: x / 255

    def images(x: NDArray[Any]) -> Images:
        floats = scale(x.astype(np.float32)) if x.dtype.kind in "iu" else x
        return np.ascontiguousarray(floats, dtype=np.float32)

    if alone:
        x = images(arrays["x"])
        if x.ndim < 2 or not len(x):
            raise InputError(f"{file}: x has shape {x.shape}; samples along its first dimension are needed")
        if not np.isfinite(x).all():
            raise InputError(f"{file}: x holds NaN or infinity; all samples must be finite")
        return x
    train_x, train_y, test_x, test_y = (arrays[name] for name in needed)
    try:
        return Data(images(train_x), train_y.astype(np.int64), images(test_x), test_y.astype(np.int64))
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def calibration(
    data: Any, needs_labels: bool = True, classes: bool = True, most: int | None = None
) -> tuple[Samples, Any]:
    """Samples and labels (None without labels) from a ``Data``, a pair (x, y), samples x alone, or batches of either.

    A tuple of two is always read as (x, y): give two inputs of a network without labels as ((a, b), None). Of batches
    (``network.gathered``) only as many are read as ``most`` samples need.

    Raises
    ------
    InputError
        ``data`` is anything else; samples are not finite (names the first); or labels are needed but missing, not as
        many as samples, or, where they are ``classes``, no whole numbers.
    """
    if isinstance(data, Data):
        return as_samples(data.train_x), data.train_y
    if comes_in_batches(data):
        data = gathered(data, most)
    x, y = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    if isinstance(x, Mapping) and y is None:
        x, y = without_labels(x)
    if not can_be_samples(x) or not (y is None or hasattr(y, "__array__")):
        raise InputError(
            f"data: is a {type(data).__name__}; give arrays or tensors, (x, y) or x alone (a tuple or a dict of them "
            "where the network takes several inputs), batches of these (a DataLoader, a list) or a cbs_opt.network.Data"
        )
    if needs_labels and y is None:
        raise InputError("data: has no labels, but this curvature needs them; give (x, y), or use sequential or gram")
    samples = as_samples(x, "data")
    if isinstance(samples, Arrays) and (bad := samples.first_not_finite()) is not None:
        raise InputError(f"data: sample {bad} is not finite; all samples must be")
    if y is None:
        return samples, None
    y = as_array(y, "data")
    if needs_labels and classes and (y.ndim != 1 or y.dtype.kind not in "iu"):
        raise InputError(
            f"data: the labels have shape {y.shape} and dtype {y.dtype}; one whole number a sample is "
            "needed, the number of its class"
        )
    if len(samples) != len(y):
        raise InputError(f"data: has {len(samples)} samples and {len(y)} labels; they must agree")
    return samples, y
