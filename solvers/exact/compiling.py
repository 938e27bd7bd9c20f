"""The first call of an engine: what is compiled is announced, and takes no longer than it has to."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

log = logging.getLogger("cbs_opt")

PATIENCE = 120.0
"""Seconds to wait for another process; after that what it has not compiled is compiled here."""

NOTICE = (
    "compiling the branch-and-bound kernels, once per installation: a minute at most, in no time limit "
    "(`cbs-opt warmup` does it beforehand) …"
)

_said: list[str] = []
"""The notice, once it was given: a process says it once, whatever it compiles."""

SECOND_PROCESS = """
import sys
sys.path[:] = {path!r}
import gc, os, threading
gc.disable()
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()  # the first process is gone
from {module} import {function}
{function}()
"""


def in_cache(kernel: Any) -> bool:
    """Whether ``kernel`` was compiled before and kept, so that its first call only loads it."""
    module = kernel.py_func.__module__.rsplit(".", 1)[-1]
    folder = kernel.stats.cache_path  # None where there is none to keep compiled code in
    return folder is not None and any(Path(folder).glob(f"{module}.{kernel.py_func.__name__}-*.nbi"))


@contextlib.contextmanager
def announced(kernel: Any, *others: Any) -> Iterator[bool]:
    """Around the first calls of ``kernel`` and ``others``, which load or compile them; where the latter, say so.

    Of several processes that have to compile, as the workers of a batch, one does and the others wait for it. Gives
    whether nothing of ``kernel`` is in the cache yet, so that what is compiled now gets there.
    """
    cache_path = kernel.stats.cache_path

    def compiled() -> bool:
        return all(map(in_cache, (kernel, *others)))

    # An index that is there may still be of an older version: then the notice comes when it takes long.
    timer = threading.Timer(5.0 if compiled() else 0.0, _say)
    timer.daemon = True
    timer.start()
    try:
        with contextlib.ExitStack() as stack:
            if cache_path is not None and not compiled():
                stack.enter_context(_one_at_a_time(Path(cache_path)))
            stack.enter_context(_uncollected())
            yield cache_path is not None and not in_cache(kernel)
    finally:
        timer.cancel()


def _say() -> None:
    if not _said:
        _said.append(NOTICE)
        log.warning(NOTICE)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait for processes that compile into ``folder``, for ``PATIENCE`` at most; meanwhile no other one begins.

    Only a help: where files cannot be locked several processes compile the same.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file = stack.enter_context((folder / "compiling.lock").open("w"))
            deadline = time.monotonic() + PATIENCE
            while not _locked(file) and time.monotonic() < deadline:
                time.sleep(0.1)
        yield


def _locked(file: IO[str]) -> bool:
    """Take the lock of ``file``, which ends when it is closed; False where another process holds it."""
    try:
        import fcntl
    except ImportError:  # not on this system
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def compiled_beside(function: Callable[[], object]) -> Iterator[None]:
    """While the body runs, a second process calls ``function`` and so puts the kernels it needs into the cache.

    Only a help: where there is one core, or no Python to start, or the second process fails, nothing is lost but time.
    It ends with this process, however that ends.

    Parameters
    ----------
    function : callable
        Of a module, without parameters. A kernel of several signatures that both need has to be compiled before: two
        processes that write different ones at once spoil numba's index.
    """
    with contextlib.ExitStack() as stack:
        process = _second_process(function) if _cores() > 1 else None
        if process is not None:
            stack.callback(_end, process)
        yield
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)


def _second_process(function: Callable[[], object]) -> subprocess.Popen[bytes] | None:
    if not sys.executable or getattr(sys, "frozen", False):  # embedded, or packed into one program
        return None
    code = SECOND_PROCESS.format(path=sys.path, module=function.__module__, function=function.__name__)
    nowhere = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    with process:  # closes its input, waits
        pass


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
