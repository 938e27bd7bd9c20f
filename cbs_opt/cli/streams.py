"""Standard output and standard error as a command finds them: closed, full, or with nobody who reads them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from cbs_opt.errors import CbsOptError


class OutputError(CbsOptError):
    """Standard output takes nothing more: the disk behind it is full, or gone."""


class _Output:
    """A stream that names itself where it cannot be written; to lose the reader of a pipe stays ``BrokenPipeError``."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._named():
            return int(self._stream.write(text))

    def flush(self) -> None:
        with self._named():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"standard output cannot be written ({error.strerror or error}); what was to be printed "
                "is lost, files that were written are whole"
            ) from None


@contextmanager
def standard_output() -> Iterator[None]:
    """While inside, what is printed is written, or raises; at the end everything is written.

    Raises
    ------
    OutputError
        Standard output is closed (before anything is done), or cannot be written.
    BrokenPipeError
        Whoever read it has left.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives
    if sys.stdout is None:
        raise OutputError("standard output is closed; give it a file, a pipe or /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without λ shows ? instead of failing
    try:
        with redirect_stdout(_Output(sys.stdout)):
            yield
            sys.stdout.flush()
    except (BrokenPipeError, OutputError, SystemExit):  # the last is what typer and rich make of a broken pipe
        _forget(sys.stdout)
        raise


def _forget(stream: Any) -> None:
    """What waits to be written and cannot be would fail once more, and be reported by Python, at the process's end."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
