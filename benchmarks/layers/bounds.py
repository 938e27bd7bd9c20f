"""`python -m benchmarks.layers.bounds --layers FOLDER`: bounds of whole layers of a language model, and their price.

For every `.npz` of the folder (`H_upper`, the upper triangle of XᵀX/m, and `W`; λ = 0.01 of the mean diagonal is added)
and every pattern: the relative value (of what pruning everything would cost) of each bound that is proven on the way,
the CPU time until then in float32 products (rows, d)(d, d) of the same run and machine, and the gap of a mask:
`admm`'s, or the relative objective that is given with `--best`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.layers.command import pattern_of, read_layer
from benchmarks.recording import Row
from cbs_opt import PruningProblem, solve
from cbs_opt.solvers.bounds import rows as bounds


def product_seconds(rows: int, d: int) -> float:
    """CPU seconds of a float32 product (rows, d)(d, d), the least of some."""
    import torch

    left, right = torch.randn(rows, d), torch.randn(d, d)
    times = []
    for _ in range(12):
        started = time.process_time()
        left @ right
        times.append(time.process_time() - started)
    return min(times[2:])


def proofs(problem: PruningProblem, time_limit: float | None) -> list[tuple[float, float]]:
    """Every bound that is proven on the way, with the CPU seconds until then."""
    found: list[tuple[float, float]] = []
    prove = bounds.certified
    started = time.process_time()

    def watched(*arguments: Any) -> Any:
        proven = prove(*arguments)
        found.append((proven[0], time.process_time() - started))
        return proven

    bounds.certified = watched
    try:
        bounds.bound_rows(problem, time_limit=time_limit)
    finally:
        bounds.certified = prove
    return found


def rows_of(path: Path, pattern: str, best: float | None, time_limit: float | None) -> Iterator[Row]:
    """One row per proof."""
    layer = read_layer(path)
    rows = layer.curvature.rows
    problem = layer.within(pattern_of(pattern, rows, layer.n // rows))
    everything = problem.objective(np.zeros(problem.n))
    objective = best if best is not None else solve(problem, "admm").objective / everything
    product = product_seconds(rows, problem.n // rows)
    for value, seconds in proofs(problem, time_limit):
        bound = value / everything
        yield {
            "layer": path.stem,
            "pattern": pattern,
            "rows": rows,
            "objective": objective,
            "bound": bound,
            "gap": (objective - bound) / objective,
            "products": seconds / product,
        }


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers.bounds", description=__doc__)
    parser.add_argument("--layers", type=Path, required=True, help="folder of layers, or one file")
    parser.add_argument("--patterns", default="0.5", help="comma between them")
    parser.add_argument("--best", type=float, help="relative objective of the best mask known; else admm's")
    parser.add_argument("--time-limit", type=float, help="seconds for each bound")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    files = sorted(asked.layers.glob("*.npz")) if asked.layers.is_dir() else [asked.layers]
    print("layer pattern rows objective bound gap products")  # noqa: T201
    for path in files:
        for pattern in asked.patterns.split(","):
            for row in rows_of(path, pattern, asked.best, asked.time_limit):
                print(  # noqa: T201
                    f"{row['layer']} {row['pattern']} {row['rows']} {row['objective']:.6f} {row['bound']:.6f} "
                    f"{row['gap']:.2%} {row['products']:.0f}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
