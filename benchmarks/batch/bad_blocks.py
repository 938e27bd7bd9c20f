"""Five blocks that cannot be solved among good ones."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.batch.processes import start, watch
from cbs_opt.store import open_store

ENORMOUS = 12_000
MEMORY = "1GB"


def bad_blocks(folder: Path, blocks: Path, jobs: int, sparsity: float) -> dict[str, Any]:
    """Solve the good and the bad; the bad ones must be five failed rows with their reasons, and cost nothing else."""
    place = folder / "good-and-bad"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    good = sorted(blocks.glob("*.npz"))
    for file in good:
        os.link(file, place / file.name)
    make_bad(place, good[0])
    store = folder / "bad.sqlite"
    store.unlink(missing_ok=True)
    words = (place, "--sparsity", sparsity, "--jobs", jobs, "--store", store, "--memory-limit", MEMORY)
    run = watch(start(*words))
    with open_store(store) as opened:
        counts = opened.counts()
        files = {block.id: Path(block.file).name for block in opened.blocks()}
        failed = {
            files[result.block]: f"{result.reason}: {result.error}".replace(f"{place}{os.sep}", "")
            for result in opened.results(status="failed")
        }
    return {
        "counts": counts,
        "failed": failed,
        "exit_code": run.code,
        "summary": run.out.replace(f"{folder}{os.sep}", "").splitlines(),
        "holds": counts == {"done": len(good), "failed": 5} and run.code == 1 and "5 failed" in run.out,
    }


def make_bad(folder: Path, good: Path, enormous: int = ENORMOUS) -> None:
    """A corrupt, a NaN, an indefinite, a 0-byte and an enormous block (its H alone takes 8·enormous² bytes)."""
    data = bytearray(good.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = os.urandom(64)
    (folder / "corrupt.npz").write_bytes(data)
    w = np.ones(8)
    broken = np.eye(8)
    broken[3, 4] = np.nan
    np.savez(folder / "nan.npz", w=w, H=broken)
    np.savez(folder / "indefinite.npz", w=w, H=np.diag([1.0, 1, 1, -1, 1, 1, 1, 1]))
    (folder / "zero-bytes.npz").write_bytes(b"")
    with zipfile.ZipFile(folder / "enormous.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("w.npy", "w") as stream:
            np.lib.format.write_array(stream, np.ones(enormous))
        with archive.open("H.npy", "w", force_zip64=True) as stream:
            header = {"descr": "<f8", "fortran_order": False, "shape": (enormous, enormous)}
            np.lib.format.write_array_header_1_0(stream, header)
            for _ in range(enormous):
                stream.write(bytes(8 * enormous))
