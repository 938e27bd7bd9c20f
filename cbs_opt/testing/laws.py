"""How a law is checked: if an instance breaks it, an ``AssertionError`` names the law, the instance and the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError

MOST = 12
"""The largest number of weights of an instance for which all masks are tried."""

ROUND_OFF = 1e-9
"""The error that laws allow in sums of scores or of entries of H, relative to the sum of their sizes."""


def require(holds: object, law: str, instance: object, said: str) -> None:
    """Raise an ``AssertionError`` unless the law holds for the instance; ``said`` gives the numbers."""
    if not holds:
        raise AssertionError(f"law '{law}' is broken by {instance}: {said}")


def require_few(n: int) -> None:
    """Raise an error if ``n`` weights are too many for all their masks to be tried."""
    if n > MOST:
        raise InputError(f"laws: every mask of the instance is tried, of at most {MOST} weights, but there are {n}")


def list_of(values: NDArray[Any]) -> list[Any]:
    """``values`` as a list for a message; a mask becomes zeros and ones."""
    plain: list[Any] = (values.astype(int) if values.dtype == np.bool_ else values).tolist()
    return plain
