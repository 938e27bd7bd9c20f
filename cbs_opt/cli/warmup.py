"""`cbs-opt warmup`: compiles now what would otherwise be compiled when a method first runs."""

from __future__ import annotations

import time

from cbs_opt.cli.options import Json
from cbs_opt.cli.output import emit, say, seconds
from cbs_opt.cli.outputs import check_outputs
from cbs_opt.kernel.terminal import working


def warmup(json: Json = None) -> None:
    """Compile the loops of all methods, once per installation, so that no later command waits for it.

    Loops that are compiled already are only loaded. The compiled code is kept in the user's cache folder, or below
    NUMBA_CACHE_DIR if that is set, for all processes of this user that run this version.

    Example: cbs-opt warmup
    """
    from cbs_opt.evaluation.catalogue import methods
    from cbs_opt.solvers.compiled.compilation import cache_folder

    check_outputs(json)
    started = time.perf_counter()
    with working("compiling") as tell:
        for spec in methods().values():
            if spec.prepare is not None and spec.unavailable_because() is None:
                tell(f"compiling {spec.name}")
                spec.prepare()
    spent, folder = time.perf_counter() - started, cache_folder()
    kernels = sum(1 for _ in folder.rglob("*.nbi"))
    facts = {"folder": str(folder), "kernels": kernels, "seconds": spent}
    emit(json, facts, lambda: say(f"{kernels} compiled loops are ready in {folder} ({seconds(spent)})"))
