"""Writing files: whole, or not at all."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from cbs_opt.errors import InputError


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raise one clear sentence when no file can be written at ``path``; better before a long solve than after.

    Raises
    ------
    InputError
        The folder is missing or closed to this user, or ``path`` is a folder itself.
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
    """Write a file under a temporary name beside ``path`` and rename it: whole, or not at all.

    A link is followed; a device (``/dev/null``) is written to as it is.

    Raises
    ------
    InputError
        The file cannot be written; what was there before is untouched.
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
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
