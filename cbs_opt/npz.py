"""Arrays out of npz archives: read to the end, where the checksum is looked at, and never unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

SUFFIX = ".npy"


def read_arrays(stream: IO[bytes], fields: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an archive that are called ``fields``; all of them by default.

    Damaged bytes raise whatever zipfile, zlib and numpy.lib.format raise; an array of objects is a ``ValueError``.
    """
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(stream) as archive:
        for file in archive.namelist():
            field = file.removesuffix(SUFFIX)
            if not file.endswith(SUFFIX) or (fields is not None and field not in fields):
                continue
            with archive.open(file) as inside:
                arrays[field] = np.lib.format.read_array(inside, allow_pickle=False)
                if inside.read(1):
                    raise ValueError(f"{file} holds more than its array")
    return arrays
