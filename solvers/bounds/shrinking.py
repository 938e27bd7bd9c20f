"""A splitting D that is tried smaller and smaller, until the rest of H is shown to be positive semidefinite."""

from __future__ import annotations

from collections.abc import Iterator

from cbs_opt.kernel.arrays.types import Vector

TIMES = 60
"""How often D is tried."""


def shrinking(D: Vector) -> Iterator[Vector]:
    """``D`` itself, then smaller ones: each loses a share of the last, 2⁻¹⁰ at first, doubling up to one half."""
    for attempt in range(TIMES):
        yield D
        D = D * (1.0 - 0.5 ** max(1, 10 - attempt))
