"""Makes standard output and standard error safe to write to: they may be closed, full, or a pipe nobody reads."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from cbs_opt.errors import CbsOptError


class OutputError(CbsOptError):
    """Standard output cannot be written: it is closed, or the disk behind it is full or gone."""


class _Output:
    """Standard output whose write errors name it; a pipe whose reader has left still raises ``BrokenPipeError``."""

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
    """Inside, whatever is printed is written or raises an error; at the end everything is flushed.

    Raises
    ------
    OutputError
        Standard output is closed (raised before anything is done), or cannot be written.
    BrokenPipeError
        Standard output is a pipe whose reader has left.
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
    except (BrokenPipeError, OutputError, SystemExit):  # typer and rich turn a broken pipe into SystemExit
        _forget(sys.stdout)
        raise


def _forget(stream: Any) -> None:
    """Drop what is buffered and cannot be written: Python would try again at its exit, fail, and report that, too."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
