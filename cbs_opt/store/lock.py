"""A lock beside the store that allows one writer at a time; it is released when its holder ends, in whatever way."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from cbs_opt.errors import StoreError


@contextmanager
def exclusive(path: str | os.PathLike[str]) -> Iterator[None]:
    """A context that holds the lock ``PATH.lock``.

    Raises
    ------
    StoreError
        Another process holds it; the message says which, and since when. Or the file cannot be opened or locked.
    """
    place = Path(os.path.realpath(path))
    file = place.with_name(f"{place.name}.lock")
    descriptor = _locked(file, path)
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        _note(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now}")
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(file: Path, store: str | os.PathLike[str]) -> int:
    """An open descriptor of the lock file that holds the lock.

    It is tried again where the previous holder has removed the file in the meantime.
    """
    import fcntl

    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(f"{file}: cannot be opened ({error.strerror}); the store cannot be written to") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.exists() and os.path.samestat(os.fstat(descriptor), os.stat(file)):
                return descriptor
        except BlockingIOError:
            holder = os.read(descriptor, 500).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise StoreError(
                f"{store}: another batch writes to it ({holder}); wait for its end, or name another store"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StoreError(f"{file}: cannot be locked ({error.strerror}); put the store on another disk") from None
        os.close(descriptor)


def _note(descriptor: int, text: str) -> None:
    """Write who holds the lock into its file, for the error message of others; a full disk is no reason to fail."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
