"""Ten thousand small blocks: how many a second, at what cost each, and does the memory of the parent grow?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.batch.processes import start, watch
from cbs_opt.store import open_store

RATE = 300.0
OVERHEAD = 3e-3
GROWTH = 20.0
"""MB between a quarter of the time and the end that still count as flat."""


def throughput(folder: Path, blocks: Path, jobs: int, sparsity: float) -> dict[str, Any]:
    """Solve all blocks exactly.

    The overhead of a block is what ``jobs`` workers spent on it beyond the solve itself: jobs × wall / blocks − mean
    seconds of a solve, start-up and planning included.
    """
    store = folder / "throughput.sqlite"
    store.unlink(missing_ok=True)
    run = watch(start(blocks, "--sparsity", sparsity, "--methods", "bnb", "--store", store, "--jobs", jobs))
    with open_store(store) as opened:
        results = [(result.proven, result.seconds or 0.0, result.nodes or 0) for result in opened.results()]
    count = len(results)
    solving = sum(seconds for _, seconds, _ in results)
    memory = [size for _, size in run.memory]
    quarter, end = memory[len(memory) // 4], memory[-1]
    facts = {
        "blocks": count,
        "proven": sum(proven for proven, _, _ in results),
        "nodes_per_block": sum(nodes for _, _, nodes in results) / count,
        "jobs": jobs,
        "seconds": run.seconds,
        "blocks_per_second": count / run.seconds,
        "solve_ms_per_block": 1e3 * solving / count,
        "overhead_ms_per_block": 1e3 * (jobs * run.seconds - solving) / count,
        "processor_ms_per_block": 1e3 * run.processor_seconds / count,
        "parent_mb_at_a_quarter": quarter,
        "parent_mb_at_the_end": end,
        "parent_mb_most": max(memory),
        "load_average": os.getloadavg()[0],
        "exit_code": run.code,
    }
    facts["holds"] = (
        facts["proven"] == count
        and facts["blocks_per_second"] >= RATE
        and facts["overhead_ms_per_block"] < 1e3 * OVERHEAD
        and end - quarter < GROWTH
    )
    return facts
