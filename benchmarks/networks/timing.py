"""Processor and wall time, threads, and the memory a process has held at most."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Fills ``cpu`` (of all threads) and ``seconds`` (wall) when it ends."""
    spent: dict[str, float] = {}
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        yield spent
    finally:
        spent |= {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - wall}


def peak_bytes() -> int:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def held_bytes() -> int:
    """The memory this process holds now; where the system does not say it, the most it has held so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return peak_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def setting() -> dict[str, str | int]:
    """What a time was measured with."""
    import torch

    return {"threads": torch.get_num_threads(), "cores": os.cpu_count() or 1}
