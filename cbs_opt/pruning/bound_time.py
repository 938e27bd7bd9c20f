"""A budget of seconds for all bounds of a network, divided over its layers by their weights."""

from __future__ import annotations

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

    def share(self, weights: int) -> float | None:
        """The seconds that the bound of a layer of so many weights, or of a part of one, may take."""
        return None if self._left is None else max(0.0, self._left * weights / self._weights)

    def charge(self, weights: int, seconds: float) -> None:
        """They are bounded now, which took so many seconds."""
        self._weights -= weights
        if self._left is not None:
            self._left -= seconds

    def skip(self, weights: int) -> None:
        """A layer that was bounded elsewhere: its share of the time is gone."""
        self.charge(weights, self.share(weights) or 0.0)


def checked(seconds: float | None) -> float | None:
    """The seconds, where they are a number of them, or None.

    Raises
    ------
    InputError
    """
    if seconds is not None and (isinstance(seconds, (str, bool)) or not seconds >= 0):
        raise InputError(f"bound_time: is {seconds!r}; a number of seconds, at least 0, is needed")
    return seconds
