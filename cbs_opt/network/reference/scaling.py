"""Scales pixels 0 … 255 to what a network was trained on: (x/255 − mean) / std, with the colours as first dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError

Scale = Callable[[NDArray[Any]], NDArray[Any]]


def gray_images(mean: float, std: float) -> Scale:
    """A function that scales images of one colour, of any shape."""
    return lambda x: (x / 255 - mean) / std


def rgb_images(mean: tuple[float, float, float], std: tuple[float, float, float]) -> Scale:
    """A function that scales colour images (m, height, width, 3) and returns them as (m, 3, height, width)."""

    def scale(x: NDArray[Any]) -> NDArray[Any]:
        if x.ndim != 4 or x.shape[3] != 3:
            raise InputError(
                f"images: have shape {x.shape}; integer images (m, height, width, 3) are needed, or float "
                "images already scaled"
            )
        scaled = (x / 255 - np.array(mean, dtype=x.dtype)) / np.array(std, dtype=x.dtype)
        return scaled.transpose(0, 3, 1, 2)

    return scale
