"""How much memory is free, and how to return freed memory to the system."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path


def available_memory() -> float:
    """How many bytes can still be taken without swapping, as far as the system says, within a container's limit."""
    free = [_of_the_machine(), _of_the_container()]
    return min(value for value in free if value is not None) if any(free) else 4 * 2.0**30


def _of_the_machine() -> float | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / 2
    except (AttributeError, ValueError, OSError):
        return None


def _of_the_container() -> float | None:
    """How many bytes the control group of Linux leaves; None without a limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = (group / "memory.current").read_text(encoding="ascii").strip()
        return None if limit == "max" else max(0.0, float(limit) - float(used))
    except (OSError, ValueError):
        return None


@cache
def _trim() -> Callable[[int], int] | None:
    """glibc's ``malloc_trim``; None where there is none."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return None
    return found


def give_back() -> None:
    """Return to the system the memory that this process has freed.

    The C library of Linux keeps most of it for itself. When tensors of a few megabytes come and go between others that
    stay, it keeps nearly as much again as is in use.
    """
    trim = _trim()
    if trim is not None:
        trim(0)
