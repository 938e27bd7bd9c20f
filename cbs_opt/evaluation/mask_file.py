"""Masks and weights in files, from any tool or written here.

A mask file is an ``.npy``, or an ``.npz`` or ``.safetensors`` whose array ``mask`` (or whose only array) holds one
boolean (or 0/1) for each weight of the block; 1 keeps. Weights are the array ``weights`` or ``w``, or the only array.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.arrays.validate import as_array, as_mask

SUFFIXES = (".npz", ".safetensors")
"""The suffixes of files that are written; .npy is read, too."""


def save_mask(path: str | os.PathLike[str], mask: Mask, weights: Vector) -> None:
    """Write ``mask`` (booleans) and ``weights`` (float64) into one .npz or .safetensors, whole or not at all."""
    from cbs_opt.kernel.files import write_whole

    arrays = {"mask": np.ascontiguousarray(mask), "weights": np.ascontiguousarray(weights)}
    if suffix_of(path) == ".npz":
        write_whole(path, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]
        return
    from safetensors.numpy import save

    write_whole(path, lambda stream: stream.write(save(arrays)))


def load_mask(path: str | os.PathLike[str], n: int) -> Mask:
    """Read the mask of ``n`` weights from a file.

    Raises
    ------
    InputError
        The file cannot be read, or its array is no such mask (names the file, the array and what is wrong with it).
    """
    file = Path(path)
    field, values = _pick(file, ("mask",))
    return as_mask(values, f"{file}: {field}", n)


def load_weights(path: str | os.PathLike[str], n: int, *, required: bool = True) -> Vector | None:
    """Read ``n`` weights from a file; if they are not ``required``, and it has no array ``weights``, return None."""
    file = Path(path)
    if not required:
        arrays = _arrays(file)
        found = "weights" if "weights" in arrays else None
        if found is None:
            return None
        field, values = found, arrays[found]
    else:
        field, values = _pick(file, ("weights", "w"))
    weights = as_array(values, f"{file}: {field}", 1)
    if len(weights) != n:
        raise InputError(f"{file}: {field}: has {len(weights)} entries, but the block has {n} weights")
    return weights


def _pick(file: Path, names: Sequence[str]) -> tuple[str, Any]:
    """The name and the array that goes by one of ``names``, or else the only array there is."""
    arrays = _arrays(file)
    for name in names:
        if name in arrays:
            return name, arrays[name]
    if len(arrays) == 1:
        return next(iter(arrays.items()))
    holds = ", ".join(sorted(arrays)) or "nothing"
    raise InputError(f"{file}: holds {holds}; give it one array, or call the right one {names[0]}")


def _arrays(file: Path) -> dict[str, Any]:
    if file.suffix.lower() == ".npy":
        return {"array": _array(file)}
    if suffix_of(file) == ".npz":
        from cbs_opt.kernel.block_file import read_npz

        return read_npz(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as safetensors ({error}); write it again") from None


def _array(file: Path) -> Any:
    """The array of an .npy; pickled objects are never loaded."""
    try:
        return np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file}: cannot be read as .npy ({error}); write it with numpy.save, plain numbers") from None


def suffix_of(path: str | os.PathLike[str]) -> str:
    """The suffix of the path in lower case; raises unless it is one of ``SUFFIXES``."""
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{file}: the suffix {suffix!r} names no format; use {' or '.join(SUFFIXES)}")
    return suffix
