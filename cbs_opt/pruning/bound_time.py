"""A budget of seconds for all bounds of a network, divided over its layers by their weights."""

from __future__ import annotations

from cbs_opt.errors import InputError


class BoundTime:
    """The budget as layers use it up in turn; seconds that a layer leaves unused go to the layers after it.

    Parameters
    ----------
    seconds : float, optional
        The budget of all layers together; None for no limit.
    weights : int
        How many weights all layers have together.

    Raises
    ------
    InputError
        ``seconds`` is not a number of at least 0.
    """

    def __init__(self, seconds: float | None, weights: int) -> None:
        self._left, self._weights = checked(seconds), weights

    def share(self, weights: int) -> float | None:
        """How many seconds the bound of a layer, or part of a layer, of so many weights may take; None: no limit."""
        return None if self._left is None else max(0.0, self._left * weights / self._weights)

    def charge(self, weights: int, seconds: float) -> None:
        """Note that so many weights have been bounded, and how many seconds that took."""
        self._weights -= weights
        if self._left is not None:
            self._left -= seconds

    def skip(self, weights: int) -> None:
        """Note that so many weights were bounded in an earlier run: their share of the budget is used up."""
        self.charge(weights, self.share(weights) or 0.0)


def checked(seconds: float | None) -> float | None:
    """``seconds`` as they are, if they are a number of at least 0, or None.

    Raises
    ------
    InputError
        They are anything else.
    """
    if seconds is not None and (isinstance(seconds, (str, bool)) or not seconds >= 0):
        raise InputError(f"bound_time: is {seconds!r}; a number of seconds, at least 0, is needed")
    return seconds
