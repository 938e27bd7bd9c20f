"""The time limit of a search, as a point of time."""

from __future__ import annotations

import math
import time

from cbs_opt.errors import InputError


def deadline_of(time_limit: float | None) -> float:
    """When ``time_limit`` seconds from now are over, on the clock of ``time.monotonic``; inf where there is no limit.

    Raises
    ------
    InputError
        The time limit is not a positive number.
    """
    if time_limit is None:
        return math.inf
    if not time_limit > 0:
        raise InputError(f"time_limit: is {time_limit}; a positive number of seconds is needed")
    return time.monotonic() + time_limit
