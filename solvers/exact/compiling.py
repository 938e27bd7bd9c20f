"""Say so where the kernels of an engine are compiled first."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger("cbs_opt")


def announced(kernel: Any, first_run: Callable[[], object]) -> None:
    """Call ``first_run``, which loads or compiles ``kernel``; where the latter, say so."""
    notice = "compiling the branch-and-bound kernels, once per installation …"
    module = kernel.py_func.__module__.rsplit(".", 1)[-1]
    cache_path = kernel.stats.cache_path  # None where there is no folder to keep compiled code in
    pattern = f"{module}.{kernel.py_func.__name__}-*.nbi"
    compiled = cache_path is not None and any(Path(cache_path).glob(pattern))
    # An index that is there may still be of an older version: then the notice comes when it takes long.
    timer = threading.Timer(5.0 if compiled else 0.0, log.warning, [notice])
    timer.daemon = True
    timer.start()
    try:
        with _uncollected():
            first_run()
    finally:
        timer.cancel()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Garbage collection off: the compiler makes millions of objects that live on, and looking through them again and
    again takes a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
