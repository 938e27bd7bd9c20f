"""Reading certificate files: ``.npz`` archives of plain arrays, in the format that docs/certificates.md describes.

A file cannot make the reader use much memory: the dtype and shape in the header of every array are checked before its
data is read.
"""

from __future__ import annotations

import zipfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError

MOST_ENTRIES = 2**23
"""Largest product of nodes and weights of a tree: 131,072 nodes at n = 64, and at most 200 MB of points."""


MOST_DUAL_ENTRIES = 2**31
"""Largest number of weights, and of entries of a dual vector, in a file."""


class _Reader:
    """Reads arrays of an npz archive whose dtype and shape are known beforehand; anything else is an ``InputError``."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}

    def length(self, name: str, most: int) -> int:
        """The length of a vector, from its header; an error if it is above ``most``."""
        shape = self._shape(name)
        if len(shape) != 1 or shape[0] > most:
            raise InputError(f"{name}: has shape {shape}; a vector of at most {most:,} entries is needed")
        return shape[0]

    def rows(self, name: str, most: int) -> int:
        """The number of rows of a matrix, from its header; an error if it is above ``most``."""
        shape = self._shape(name)
        if len(shape) != 2 or shape[0] > most:
            raise InputError(f"{name}: has shape {shape}; a matrix of at most {most:,} rows is needed")
        return shape[0]

    def columns(self, name: str, most: int) -> int:
        """The number of columns of a matrix, from its header; an error if it is above ``most``."""
        shape = self._shape(name)
        if len(shape) != 2 or shape[1] > most:
            raise InputError(f"{name}: has shape {shape}; a matrix of at most {most:,} columns is needed")
        return shape[1]

    def array(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The array called ``name``, in native byte order and C order; an error if its dtype or shape differs."""
        with self._open(name) as stream:
            found, fortran, kind = _header(stream)
            if found != shape or kind != np.dtype(dtype):
                needed = f"{shape} and {np.dtype(dtype)} are needed"
                raise InputError(f"{name}: has shape {found} and dtype {kind}; {needed}")
            count = int(np.prod(shape, dtype=np.int64))
            data = stream.read(count * kind.itemsize)
            if len(data) != count * kind.itemsize or stream.read(1):
                raise InputError(f"{name}: is cut short, or too long")
        if kind.kind == "b" and max(data, default=0) > 1:
            raise InputError(f"{name}: holds bytes other than 0 and 1")
        array = np.frombuffer(data, dtype=kind).reshape(shape, order="F" if fortran else "C")
        return np.array(array, dtype=kind.newbyteorder("="), order="C")

    def _shape(self, name: str) -> tuple[int, ...]:
        with self._open(name) as stream:
            return _header(stream)[0]

    def _open(self, name: str) -> IO[bytes]:
        if name not in self.names:
            raise InputError(f"{name}: is missing")
        return self._archive.open(f"{name}.npy")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise InputError(f"npy format {version[0]}.{version[1]} is not read; save plain arrays")
