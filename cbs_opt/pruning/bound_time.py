"""A budget of seconds for all bounds of a network, divided over its layers by their weights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from cbs_opt.errors import InputError


class BoundTime:
    """What is left of the budget; what one layer does not use is there for those behind it.

    Parameters
    ----------
    seconds : float, optional
        For all layers together; None: no limit.
    weights : int
        Of all layers.

    Raises
    ------
    InputError
        Not a number of seconds, at least 0.
    """

    def __init__(self, seconds: float | None, weights: int) -> None:
        self._left, self._weights = checked(seconds), weights

    @contextmanager
    def layer(self, weights: int) -> Iterator[float | None]:
        """Inside, the bound of a layer (or a part of one) is proven; gives the seconds it may take."""
        share, started = weights / self._weights, time.perf_counter()
        yield None if self._left is None else max(0.0, self._left * share)
        self._weights -= weights
        if self._left is not None:
            self._left -= time.perf_counter() - started

    def skip(self, weights: int) -> None:
        """A layer that was bounded elsewhere: its share of the time is gone."""
        if self._left is not None:
            self._left *= 1 - weights / self._weights
        self._weights -= weights


def checked(seconds: float | None) -> float | None:
    """The seconds, where they are a number of them, or None.

    Raises
    ------
    InputError
    """
    if seconds is not None and (isinstance(seconds, (str, bool)) or not seconds >= 0):
        raise InputError(f"bound_time: is {seconds!r}; a number of seconds, at least 0, is needed")
    return seconds
