"""What is going on, for whoever sits at a terminal."""

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
    """A spinner on stderr while it is a terminal; yields a function that changes its text."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(message)) as status:
        yield lambda text: status.update(Text(text))


def shows_progress(message: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """For a function with an optional ``progress=``: left out, a terminal shows what it would be called with."""

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
