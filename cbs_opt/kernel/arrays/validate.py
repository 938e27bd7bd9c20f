"""Checks of what users give: an array becomes float64, finite and of the right shape, or there is an error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Mask


def as_array(value: Any, field: str, ndim: int) -> NDArray[np.float64]:
    """``value`` as a float64 array with ``ndim`` axes, finite throughout.

    Raises
    ------
    InputError
        It is no such array; the message names the field, and for a NaN or infinity its first position.
    """
    try:
        raw = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{field}: not an array of numbers ({error})") from None
    if raw.dtype.kind not in "fiub":
        raise InputError(f"{field}: has dtype {raw.dtype}; give real numbers")
    if raw.ndim != ndim:
        remedy = "one axis is needed" if ndim == 1 else f"{ndim} axes are needed"
        if ndim == 1 and raw.ndim > 1 and raw.size == max(raw.shape):
            remedy += ", as .ravel() leaves it"
        raise InputError(f"{field}: has shape {raw.shape}; {remedy}")
    if raw.size == 0:
        raise InputError(f"{field}: is empty, shape {raw.shape}; give at least one value")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(raw, dtype=np.float64)
    # One pass without a temporary: the sum is finite unless an entry is not, or it overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(array.sum())
    if suspicious and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        at = where[0] if len(where) == 1 else where
        raise InputError(f"{field}: entry {at} is {array[where]}; all entries must be finite")
    return array


def as_mask(value: Any, field: str, n: int) -> Mask:
    """``value`` as a boolean mask of length ``n`` (1 keeps); numbers 0 and 1 will do, or an object with a ``mask``.

    Raises
    ------
    InputError
        It is no such mask; the message names the field and what is wrong with it.
    """
    own = None if isinstance(value, np.ndarray) else getattr(value, "mask", None)
    value = own if isinstance(own, np.ndarray) else value
    try:
        raw = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{field}: not an array of booleans ({error})") from None
    if raw.shape != (n,):
        raise InputError(f"{field}: has shape {raw.shape}; a mask of shape ({n},) is needed")
    if raw.dtype != np.bool_:
        if raw.dtype.kind not in "fiu" or not np.isin(raw, (0, 1)).all():
            raise InputError(f"{field}: holds values other than 0 and 1; a mask keeps with 1 and prunes with 0")
        raw = raw.astype(np.bool_)
    return np.ascontiguousarray(raw)


def as_nonnegative(value: Any, field: str) -> float:
    """``value`` as a finite float ≥ 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{field}: is {value!r}; a number ≥ 0 is needed") from None
    if not np.isfinite(number) or number < 0:
        raise InputError(f"{field}: is {number}; a finite number ≥ 0 is needed")
    return number
