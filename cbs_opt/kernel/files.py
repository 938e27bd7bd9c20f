"""Writing files: whole, or not at all."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError

SUFFIX = ".npy"


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raise an error unless a file can be written at ``path``; to be called before a long run, not after it.

    Raises
    ------
    InputError
        The folder is missing or may not be written to by this user, or ``path`` is a folder itself.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target}: is a folder; name a file in it")
    if not target.parent.is_dir():
        fault = "is not a folder" if target.parent.exists() else "does not exist; create it first"
        raise InputError(f"{target}: the folder {target.parent} {fault}")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"{target}: the folder {target.parent} cannot be written to; choose another")


def write_whole(path: str | os.PathLike[str], write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file under a temporary name beside ``path``, then rename it, so that it is written whole or not at all.

    Where ``path`` is a link, the file that it points to is replaced; a device (``/dev/null``) is written to directly.

    Raises
    ------
    InputError
        The file cannot be written; a file that was there before is untouched.
    """
    require_writable(path)
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            buffer = io.BytesIO()
            write(buffer)
            target.write_bytes(buffer.getvalue())
            return
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                write(stream)
            os.chmod(temporary, 0o666 & ~umask())
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def umask() -> int:
    """The permission bits that this process withholds from the files and folders that it makes."""
    now = os.umask(0)
    os.umask(now)
    return now


def read_arrays(stream: IO[bytes], fields: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an npz archive whose names are in ``fields``; all of them by default.

    Damaged bytes raise whatever zipfile, zlib and numpy.lib.format raise; an array of objects raises a ``ValueError``.
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


def prepare_folder(folder: str | os.PathLike[str]) -> Path:
    """``folder`` as a path, made if it is not there; to be called before a long run, not after it.

    Raises
    ------
    InputError
        The folder cannot be made or written to.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{target}: cannot be made a folder ({error.strerror}); choose another") from None
    if not os.access(target, os.W_OK):
        raise InputError(f"{target}: cannot be written to; choose another folder")
    return target
