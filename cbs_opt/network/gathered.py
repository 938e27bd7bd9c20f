"""Gathers samples that come in batches, as they do in training: from a DataLoader, a Dataset or a list of batches.

A batch is a tensor, a dict of tensors by the names of the network's inputs (with ``labels`` among them, or not), or a
pair (inputs, labels) whose inputs are one of those or a tuple in the network's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.network.inputs import Arrays, as_array, as_samples, can_be_samples

LABELS = "labels"
"""The name of the labels in a dict of inputs, as the transformers library and its collators have it."""

AT_ONCE = 64
"""How many items of a Dataset make a batch."""


def without_labels(x: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """A dict of inputs without its labels, and the labels, None if it has none."""
    return {name: value for name, value in x.items() if name != LABELS}, x.get(LABELS)


def comes_in_batches(given: Any) -> bool:
    """Whether ``given`` yields batches, or items to make batches from, and is not the samples themselves."""
    if can_be_samples(given) or isinstance(given, (tuple, Mapping, str, bytes)):
        return False
    return isinstance(given, Iterable) or hasattr(given, "__getitem__")


def gathered(given: Any, most: int | None = None) -> tuple[Arrays, NDArray[Any] | None]:
    """Samples and labels (None without labels), in the order in which they come.

    Sequences of different lengths are padded with zeros if they come with an ``attention_mask``, which is padded with
    zeros, too.

    Parameters
    ----------
    given : iterable of batches, or Dataset
        The batches; a ``Dataset`` (items by number) is batched first.
    most : int, optional
        Once there are so many samples no further batch is read; the last one is used whole.

    Raises
    ------
    InputError
        The batches differ in kind or shape, or there are none.
    """
    if isinstance(given, list) and len(given) == 2 and _samples_and_labels(*given):
        raise InputError("data: is a list of samples and labels; give the pair as a tuple (x, y), a list holds batches")
    parts: list[tuple[Arrays, NDArray[Any] | None]] = []
    there = 0
    for number, batch in enumerate(_batches(given)):
        parts.append(_part(batch, f"data: batch {number}"))
        there += len(parts[-1][0])
        if most is not None and there >= most:
            break
    if not parts:
        raise InputError("data: holds no batches; at least one is needed")
    first, first_labels = parts[0]
    for number, (part, labels) in enumerate(parts):
        same = (len(part.positional), *part.named) == (len(first.positional), *first.named)
        if not same or (labels is None) != (first_labels is None):
            raise InputError(f"data: batch {number} holds other things than batch 0; all must hold the same inputs")
    padded = "attention_mask" in first.named
    positional = [_joined([part.positional[i] for part, _ in parts], padded) for i in range(len(first.positional))]
    named = {name: _joined([part.named[name] for part, _ in parts], padded) for name in first.named}
    answers = [labels for _, labels in parts if labels is not None]
    return Arrays(tuple(positional), named), np.concatenate(answers) if answers and first_labels is not None else None


def _samples_and_labels(x: Any, y: Any) -> bool:
    """Whether two arrays are samples and their labels, and not two batches."""
    arrays = hasattr(x, "__array__") and hasattr(y, "__array__")
    return arrays and np.ndim(x) != 1 and np.ndim(y) == 1 and len(x) == len(y)


def _batches(given: Any) -> Iterator[Any]:
    from torch.utils.data import DataLoader

    if isinstance(given, (list, Iterator, DataLoader)) or not hasattr(given, "__getitem__"):
        return iter(given)
    items = (given[i] for i in range(len(given))) if hasattr(given, "__len__") else iter(given)
    return _collated(items)


def _collated(items: Iterator[Any]) -> Iterator[Any]:
    from torch.utils.data import default_collate

    while batch := list(islice(items, AT_ONCE)):
        try:
            yield default_collate(batch)
        except (TypeError, RuntimeError, KeyError) as error:
            raise InputError(
                f"data: items of the data set cannot be put together ({error}); give a DataLoader with a collate_fn"
            ) from error


def _part(batch: Any, name: str) -> tuple[Arrays, NDArray[Any] | None]:
    x, labels = batch, None
    if isinstance(batch, (list, tuple)) and len(batch) == 2:
        x, labels = batch
    elif isinstance(batch, (list, tuple)) and len(batch) == 1:
        (x,) = batch
    elif isinstance(batch, Mapping):
        x, labels = without_labels(batch)
    x = tuple(x) if isinstance(x, list) else x
    samples = as_samples(x, name)
    if not isinstance(samples, Arrays):
        raise InputError(
            f"{name}: is a {type(x).__name__}; a batch is a tensor, a dict of tensors, or (inputs, labels)"
        )
    answers = None if labels is None else as_array(labels, f"{name}: its labels")
    if answers is not None and len(answers) != len(samples):
        raise InputError(f"{name}: has {len(samples)} samples and {len(answers)} labels; they must agree")
    return samples, answers


def _joined(arrays: list[NDArray[Any]], padded: bool) -> NDArray[Any]:
    """The arrays joined along the first dimension; if ``padded``, the second one is brought to one length first."""
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        if not padded or {len(shape) for shape in shapes} == {0} or len({shape[1:] for shape in shapes}) > 1:
            raise InputError(
                f"data: its batches have shapes {', '.join(sorted(map(str, shapes)))} after the first dimension; give "
                "all samples one shape (sequences may differ in length where they come with an attention_mask)"
            )
        longest = max(shape[0] for shape in shapes)
        arrays = [
            np.pad(array, [(0, 0), (0, longest - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]) for array in arrays
        ]
    return np.concatenate(arrays)
