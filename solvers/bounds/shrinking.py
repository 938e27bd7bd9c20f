"""A splitting D that is tried smaller and smaller, until what it leaves of H is shown to be positive semidefinite."""

from __future__ import annotations

from collections.abc import Iterator

from cbs_opt.kernel.arrays.types import Vector

TIMES = 60


def shrinking(D: Vector) -> Iterator[Vector]:
    """``D``, shape (n,), itself, then shrunk by a share of 2⁻¹⁰, which doubles each time up to one half."""
    for attempt in range(TIMES):
        yield D
        D = D * (1.0 - 0.5 ** max(1, 10 - attempt))
