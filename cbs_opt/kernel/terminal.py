"""Progress of a long call, shown on stderr: a spinner on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import ParamSpec, TypeVar

from cbs_opt.kernel.words import shown

P = ParamSpec("P")
R = TypeVar("R")

LINE_EVERY = 30.0
"""Seconds between two lines of progress where stderr is no terminal."""

LINE_OF = 160
"""Characters of such a line at the most."""


@contextmanager
def working(message: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with ``message`` on stderr; yields a function that changes the text.

    Where stderr is no terminal but a file or a pipe, a new text becomes a line there if ``LINE_EVERY`` seconds have
    passed since the call began and since the last line.
    """
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(message)) as status:
        yield lambda text: status.update(Text(text))


def _lines() -> Callable[[str], None]:
    last = time.monotonic()

    def tell(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            with suppress(OSError, ValueError):  # nobody reads stderr any more: no reason to lose the work
                print(shown(text, LINE_OF), file=sys.stderr, flush=True)  # noqa: T201

    return tell


def shows_progress(message: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for functions with an optional argument ``progress``, a callable that takes a text.

    If the caller gives none, these texts are shown as ``working`` does.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            if kwargs.get("progress") is not None:
                return function(*args, **kwargs)
            with working(message) as tell:
                kwargs["progress"] = tell
                return function(*args, **kwargs)

        return run

    return decorated
