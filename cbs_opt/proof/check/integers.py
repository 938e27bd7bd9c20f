"""Exact numbers: float64 arrays as Python integers times one power of two.

Every float64 is an integer times a power of two, and so are sums and products of float64 numbers, so that these can be
computed without rounding. Arrays of such integers are NumPy arrays of dtype object.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Vector

Integers = NDArray[Any]
"""An array of Python integers (dtype object)."""


def exponent_of(*arrays: NDArray[np.float64]) -> int:
    """An e for which every entry, down to the last of its 53 bits, is an integer times 2^e; 0 where all are zero."""
    least: int | None = None
    for array in arrays:
        present = array[array != 0.0]
        if present.size:
            e = int(np.frexp(present)[1].min()) - 53
            least = e if least is None else min(least, e)
    return 0 if least is None else least


def integers(array: NDArray[np.float64], exponent: int) -> Integers:
    """``array`` · 2^−exponent as integers, exactly; ``exponent`` may be at most that of ``exponent_of(array)``."""
    mantissa, exponents = np.frexp(array)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    shift = np.where(whole == 0, 0, exponents.astype(np.int64) - 53 - exponent)
    result: Integers = whole.astype(object) << shift.astype(object)
    return result


def shifted(values: Any, places: Any) -> Any:
    """⌊values · 2^places⌋ for integer ``values``: exact where ``places`` ≥ 0, and otherwise rounded down."""
    left, right = np.maximum(places, 0), np.maximum(-np.asarray(places), 0)
    if isinstance(values, int):
        return (values << int(left)) >> int(right)
    return (values << left.astype(object)) >> right.astype(object)


def fraction(value: int, exponent: int) -> Fraction:
    """value · 2^exponent, exactly."""
    return Fraction(value << exponent) if exponent >= 0 else Fraction(value, 1 << -exponent)


def nearest(values: Integers, exponent: int) -> Vector:
    """values · 2^exponent rounded to float64, for guesses that no proof rests on."""
    return np.array([_rounded(fraction(value, exponent)) for value in values], dtype=np.float64)


def _rounded(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def below(value: Fraction) -> float:
    """The largest float64 ≤ ``value``; −inf where there is none."""
    try:
        guess = float(value)
    except OverflowError:
        return -math.inf if value < 0 else float(np.finfo(np.float64).max)
    return guess if Fraction(guess) <= value else math.nextafter(guess, -math.inf)


def above(value: Fraction) -> float:
    """The smallest float64 ≥ ``value``; inf where there is none."""
    return -below(-value)
