"""What a law is: it holds for every instance, or an ``AssertionError`` names the law, the instance and the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError

MOST = 12
"""Most weights of an instance all of whose masks are tried."""

ROUND_OFF = 1e-9
"""What float64 may get wrong in sums of a pattern's scores or a curvature's entries, relative to what was added up."""


def require(holds: object, law: str, instance: object, said: str) -> None:
    """Raise an ``AssertionError`` unless the law holds for the instance; ``said`` gives the numbers."""
    if not holds:
        raise AssertionError(f"law '{law}' is broken by {instance}: {said}")


def require_few(n: int) -> None:
    """Raise unless all masks of ``n`` weights can be tried."""
    if n > MOST:
        raise InputError(f"laws: every mask of the instance is tried, of at most {MOST} weights, but there are {n}")


def list_of(values: NDArray[Any]) -> list[Any]:
    """Numbers for a message; a mask as zeros and ones."""
    plain: list[Any] = (values.astype(int) if values.dtype == np.bool_ else values).tolist()
    return plain
