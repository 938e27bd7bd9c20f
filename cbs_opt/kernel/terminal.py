"""Progress of a long call, shown on stderr while that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def working(message: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with ``message`` on stderr if that is a terminal; yields a function that changes the text."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(message)) as status:
        yield lambda text: status.update(Text(text))


def shows_progress(message: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for functions with an optional argument ``progress``, a callable that takes a text.

    If the caller gives none and stderr is a terminal, a spinner shows these texts.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            if kwargs.get("progress") is not None or not sys.stderr.isatty():
                return function(*args, **kwargs)
            with working(message) as tell:
                kwargs["progress"] = tell
                return function(*args, **kwargs)

        return run

    return decorated
