"""The decorator of all compiled loops.

numba's cache on disk notices a change of the file that a function stands in, but not of the functions that it calls.
Here the name of the cache folder has a hash of all files of this package and of the constants they share, so that code
compiled from other sources is never run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.registry import CPUDispatcher

from cbs_opt.errors import UnavailableMethodError

REASSOCIATE = {"reassoc", "contract"}
"""What fast loops may do: re-associate sums and contract products with sums, for vector instructions. NaN and infinity
keep their meaning."""


def compiled(*, fast: bool = False, inlined: bool = False) -> Callable[[Any], Any]:
    """The decorator that compiles a function with numba, cached on disk, to run without Python's global lock.

    A division x/0 gives inf or NaN, as in NumPy.

    Parameters
    ----------
    fast : bool
        Whether sums may be re-associated.
    inlined : bool
        Whether to compile the function as a part of whatever calls it, with the ``fast`` of the caller. This is for
        functions that are called in one place. Others are optimized and translated once more with each function that
        calls them, so that the last in a chain of calls is compiled as often as the chain is long.

    Raises
    ------
    UnavailableMethodError
        numba is told not to compile: as plain Python the loops take a thousand times as long, and x/0 raises.
    """
    if numba.config.DISABLE_JIT:
        raise UnavailableMethodError(
            "the bounds and searches need numba's compiler, which NUMBA_DISABLE_JIT turns off; unset it"
        )

    def compile_lazily(function: Any) -> Any:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(cache_folder())
        try:
            compiled = numba.njit(
                cache=True,
                nogil=True,
                no_cfunc_wrapper=True,
                error_model="numpy",
                fastmath=REASSOCIATE if fast else False,
                inline="always" if inlined else "never",
            )(function)
        finally:
            numba.config.CACHE_DIR = before
        compiled.__class__ = _Kernel
        return compiled

    return compile_lazily


class _Kernel(CPUDispatcher):  # type: ignore[misc]
    """A compiled function whose call from Python raises ``KeyboardInterrupt``, and nothing else, at Ctrl-C.

    numba makes the arrays of a result in Python code of its own, and goes on when Ctrl-C arrives there. Python then
    finds a result and an exception at once, and raises a ``SystemError`` that was caused by the interrupt.
    """

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        try:
            return super().__call__(*arguments)
        except SystemError as error:
            if not isinstance(error.__cause__, KeyboardInterrupt):
                raise
        # The result of the call is lost, and arrays that it was to fill must not be used.
        raise KeyboardInterrupt


@cache
def cache_folder() -> Path:
    """The folder of loops compiled from exactly these sources: below NUMBA_CACHE_DIR if set, else the user's cache."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for file in (*sorted(here.glob("*.py")), here.parent / "forms" / "node_state.py"):
        digest.update(file.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cbs-opt" / digest.hexdigest()[:16]
