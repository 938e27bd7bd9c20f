"""Ctrl-C while Pyomo runs a solver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise ``KeyboardInterrupt`` wherever it arrives; a context, or the decorator of a function.

    While a solver runs, Pyomo captures what it prints, and a Ctrl-C that arrives there becomes a ``RuntimeError``.
    """
    try:
        yield
    except RuntimeError as error:
        if KeyboardInterrupt.__name__ not in str(error):
            raise
        raise KeyboardInterrupt from error
