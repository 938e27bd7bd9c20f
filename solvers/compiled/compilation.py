"""The decorator of all compiled loops.

numba's cache on disk notices a change of the file a function stands in, not of the functions it calls. Here the
cache folder carries a hash of all files of this room and of the constants they share, so that code compiled from
other sources is never run.
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
"""What fast loops may do: re-associate sums (vector instructions). NaN and infinity keep their meaning."""


def compiled(*, fast: bool = False, inlined: bool = False) -> Callable[[Any], Any]:
    """Compile a function with numba, cached on disk, to run without Python's lock; x/0 is inf or NaN as in NumPy.

    Parameters
    ----------
    fast : bool
        Sums may be re-associated.
    inlined : bool
        Compile the function as a part of whatever calls it, as fast as that is: for what is called at one place. What
        is compiled by itself is optimized and translated once more with each function above it, so that the end of a
        chain of calls is compiled as often as the chain is long.

    Raises
    ------
    UnavailableMethodError
        numba is told to compile nothing: as plain Python the loops take a thousand times as long, and x/0 raises.
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
    """A compiled function whose call from Python, interrupted by Ctrl-C, raises ``KeyboardInterrupt`` and nothing else.

    numba makes the arrays of a result with some Python of its own, and goes on when Ctrl-C arrives just there. Python
    then finds a result and an exception at once, and calls it a ``SystemError`` caused by the interrupt.
    """

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        try:
            return super().__call__(*arguments)
        except SystemError as error:
            if not isinstance(error.__cause__, KeyboardInterrupt):
                raise
        # What the call has returned is lost with it, and arrays it was to fill are not to be used.
        raise KeyboardInterrupt


@cache
def cache_folder() -> Path:
    """Where compiled loops of exactly these sources lie: below NUMBA_CACHE_DIR if set, else the user's cache."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for file in (*sorted(here.glob("*.py")), here.parent / "forms" / "node_state.py"):
        digest.update(file.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cbs-opt" / digest.hexdigest()[:16]
