"""Compiling the kernels at the first call of an engine: announced, by one process at a time, and quickly."""

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
"""Seconds to wait for another process that compiles; after that, what it has not compiled is compiled here."""

NOTICE = (
    "compiling the branch-and-bound kernels, once per installation: a minute at most, in no time limit "
    "(`cbs-opt warmup` does it beforehand) …"
)

_said: list[str] = []
"""Holds the notice once it was given, so that a process gives it only once, whatever it compiles."""

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
    """A context for the first calls of ``kernel`` and ``others``, which load or compile them; compiling is announced.

    Where several processes have to compile, such as the workers of a batch, one does and the others wait for it. The
    context gives whether ``kernel`` is not in the cache yet and will be put there.
    """
    cache_path = kernel.stats.cache_path

    def compiled() -> bool:
        return all(map(in_cache, (kernel, *others)))

    # What is in the cache may be of an older version; the notice is then given once loading takes long.
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
    """Give the notice, unless this process has given it."""
    if not _said:
        _said.append(NOTICE)
        log.warning(NOTICE)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process compiles into ``folder``, ``PATIENCE`` at most, and keep others from it meanwhile.

    Nothing depends on it: where files cannot be locked, several processes compile the same kernels.
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
    """While the body runs, a second process calls ``function`` and so puts the kernels that it needs into the cache.

    Nothing depends on it: where there is only one core, or no Python to start, or the second process fails, only time
    is lost. The second process ends with this one, however this one ends.

    Parameters
    ----------
    function : callable
        A function at the top of a module, without parameters. A kernel with several signatures that both processes need
        has to be compiled before: two processes that write different signatures at once spoil numba's index.
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
    """Start a process that calls ``function``; None where none can be started."""
    if not sys.executable or getattr(sys, "frozen", False):  # embedded, or packed into one program
        return None
    code = SECOND_PROCESS.format(path=sys.path, module=function.__module__, function=function.__name__)
    nowhere = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` and wait for it."""
    process.kill()
    with process:  # closes its input, waits
        pass


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Turn garbage collection off while the compiler works: scanning its many objects takes a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
