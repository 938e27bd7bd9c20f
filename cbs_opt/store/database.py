"""Opening the SQLite file of a store, and SQLite's errors as one sentence."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from cbs_opt.errors import StoreError

PATIENCE = 30.0
"""Seconds to wait for the transaction of another connection."""

DAMAGED = "is damaged; recover it by `sqlite3 STORE .recover`, or start a new store"


def connect(path: str | os.PathLike[str], mode: str) -> sqlite3.Connection:
    """A connection in autocommit mode; ``mode`` is 'ro', 'rw' or 'rwc' (create), as SQLite calls them.

    A file in a folder without write permission is opened as immutable. This is refused where results still lie beside
    it in a file ``-wal``, since they would be missing.
    """
    place = f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode={mode}"
    with troubles(path):
        database = sqlite3.connect(place, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            database.close()
            closed = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            if mode != "ro" or not closed or _waiting(path):
                raise
            database = sqlite3.connect(f"{place}&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
        except BaseException:
            database.close()
            raise
    return database


def _waiting(path: str | os.PathLike[str]) -> bool:
    """Whether results lie in the file ``-wal`` beside the store and not yet in the store itself."""
    log = Path(f"{os.path.abspath(path)}-wal")
    return log.exists() and log.stat().st_size > 0


def files_of(path: str | os.PathLike[str]) -> list[Path]:
    """All files of a store while it is open: the store itself, what SQLite keeps beside it, and the lock of its writer.

    Where ``path`` is a link, they may lie beside the link or beside the file that it points to; both are listed.
    """
    places = dict.fromkeys((os.path.abspath(path), os.path.realpath(path)))
    return [Path(path), *(Path(place + end) for place in places for end in ("-wal", "-shm", "-journal", ".lock"))]


def require_file(path: str | os.PathLike[str]) -> None:
    """Raise a ``StoreError`` unless ``path`` is a file."""
    if not Path(path).exists():
        raise StoreError(f"{path}: no such store; `cbs-opt batch … --store {path}` makes one")
    if not Path(path).is_file():
        raise StoreError(f"{path}: is {'a folder' if Path(path).is_dir() else 'no plain file'}; name the store's file")


@contextmanager
def troubles(path: str | os.PathLike[str]) -> Iterator[None]:
    """A context in which errors of SQLite become a ``StoreError`` that says what, where and what to do."""
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite quotes damaged text in its message
        raise StoreError(f"{path}: {DAMAGED}") from error
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {_sentence(error)}") from error


def _sentence(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_NOTADB:
        return "is not a store (not an SQLite database); name another file"
    if primary == sqlite3.SQLITE_FULL:
        return "the disk is full; what was written is safe, free some space and run the same command again"
    if primary == sqlite3.SQLITE_READONLY:
        return "cannot be written to (read-only); change its permissions, or name another file"
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "is locked by another program; run the same command again when that has ended"
    if primary == sqlite3.SQLITE_CANTOPEN:
        return "cannot be opened; look at the permissions of the file and its folder"
    if primary == sqlite3.SQLITE_CORRUPT:
        return DAMAGED
    if primary == sqlite3.SQLITE_IOERR:
        return (
            f"cannot be read or written ({error}; is the disk full, or gone?); what was written is safe, run the same "
            "command again when that is mended"
        )
    return f"the database reports {error}"


@contextmanager
def damage(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """A context for reading the row ``what``: errors in its values become a ``StoreError`` that calls it damaged."""
    try:
        yield
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"{path}: {what} is damaged ({error}); start a new store") from None
