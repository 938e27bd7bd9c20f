"""The names of array types, read-only views, the precision of float64, and numbers rounded up for messages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

Matrix = NDArray[np.float64]

Mask = NDArray[np.bool_]

EPS = float(np.finfo(np.float64).eps)
"""2⁻⁵²: the distance from 1 to the next float64. The relative error of one operation is at most half of it."""


def rounded_up(value: float) -> float:
    """``value`` > 0 rounded up to three digits, so that a number printed in a message still suffices when typed."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    up = float(f"{math.ceil(value / unit) * unit:.3g}")
    return up if up >= value else float(f"{up + unit:.3g}")


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view of ``array`` (no copy)."""
    view = array.view()
    view.flags.writeable = False
    return view
