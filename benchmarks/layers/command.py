"""`python -m benchmarks.layers --layers FOLDER`: layers from files, each method on each pattern, as one table.

A layer is a file `NAME.npz` with `W`, the weights, shape (rows, d), and the Gram matrix of the inputs: `H_upper`, its
upper triangle row by row as `np.triu_indices(d)` counts it, XᵀX divided by the number of inputs. λ = 0.01 times the
mean of the diagonal is added in float64.

The relative objective is that of the mask with the exact update, divided by that of pruning everything:
Σ (W−W̄)(H+λI)(W−W̄)ᵀ / Σ W̄(H+λI)W̄ᵀ, traces. Seconds are of the processor, and are also said in **products**: how often a
product of float32 matrices (rows, d)(d, d) fits in, which is measured before, between and after (their median).
`mask` is the method's own time, `update` that of the exact update.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from cbs_opt import DenseCurvature, Pattern, PruningProblem, Quotas, RowsCurvature, obs_update
from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.evaluation.catalogue import method as method_named
from cbs_opt.kernel.patterns import Cardinality, prune_count

LAMBDA = 0.01
"""Damping as a share of the mean diagonal."""

HEADER = "| layer | pattern | method | relative objective | mask, s | update, s | mask, products | both, products |"


def main(arguments: list[str] | None = None) -> int:
    """Print the table, row by row; 1 where a row failed."""
    asked = _parser().parse_args(arguments)
    failed = 0
    print(f"{HEADER}\n|---|---|---|---|---|---|---|---|", flush=True)  # noqa: T201
    for file in sorted(asked.layers.glob("*.npz")):
        if not re.search(asked.only, file.stem):
            continue
        layer = read_layer(file)
        for pattern in asked.patterns.split(","):
            problem = layer.within(pattern_of(pattern, *_shape(layer)))
            for name in asked.methods.split(","):
                try:
                    cells = measured(problem, name)
                except CbsOptError as error:
                    failed, cells = 1, (f"failed: {error}",)
                print(f"| {' | '.join((file.stem, pattern, name, *cells))} |", flush=True)  # noqa: T201
    return failed


def read_layer(file: Path) -> PruningProblem:
    """The layer in ``file``, damped, without a pattern."""
    with np.load(file, allow_pickle=False) as arrays:
        W, upper = arrays["W"].astype(np.float64), arrays["H_upper"]
    d = W.shape[1]
    if upper.shape != (d * (d + 1) // 2,):
        raise InputError(f"{file}: H_upper has {upper.size} entries; {d} inputs have {d * (d + 1) // 2}")
    H = np.zeros((d, d))
    H[np.triu_indices(d)] = upper
    H += np.triu(H, 1).T
    curvature = DenseCurvature(H, LAMBDA * float(H.diagonal().mean()))
    return PruningProblem(W.ravel(), RowsCurvature(curvature, len(W)), name=file.stem)


def _shape(layer: PruningProblem) -> tuple[int, int]:
    return layer.curvature.rows, layer.n // layer.curvature.rows


def pattern_of(words: str, rows: int, d: int) -> Pattern:
    """'0.5' of the layer, '0.5/row' of each of its rows, or '2:4' along its d inputs."""
    if ":" in words:
        keep, of = map(int, words.split(":"))
        return Quotas.n_of_m(rows * d, keep, of, row=d)
    share, _, within = words.partition("/")
    if within:
        return Quotas(np.full(rows, d), prune_count(d, float(share)))
    return Cardinality(rows * d, prune_count(rows * d, float(share)))


def measured(problem: PruningProblem, name: str) -> tuple[str, ...]:
    """The cells of one row: relative objective, seconds of the mask and of the update, and both in products."""
    products = [*_products(problem)]
    spec = method_named(name)
    spec.check(problem)
    mask_seconds, outcome = _timed(lambda: spec.run(problem))
    products += _products(problem)
    update_seconds, weights = _timed(lambda: obs_update(problem, outcome.mask))
    products += _products(problem)
    unit = median(products)
    relative = problem.objective(weights) / problem.objective(np.zeros(problem.n))
    counts = f"{mask_seconds / unit:.0f}", f"{(mask_seconds + update_seconds) / unit:.0f}"
    return f"{relative:.6f}", f"{mask_seconds:.2f}", f"{update_seconds:.2f}", *counts


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _products(problem: PruningProblem) -> Iterator[float]:
    """Seconds of some products of float32 matrices (rows, d)(d, d)."""
    import torch

    rows = problem.curvature.rows
    left = torch.randn(rows, problem.n // rows)
    right = torch.randn(left.shape[1], left.shape[1])
    for _ in range(9):
        yield _timed(lambda: left @ right)[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.layers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=Path, required=True, help="folder of the layers")
    parser.add_argument("--only", default="", help="regular expression that the names of the layers shall match")
    parser.add_argument("--patterns", default="0.5,0.7,2:4", help="0.5 of the layer, 0.5/row of each row, 2:4")
    parser.add_argument("--methods", default="wanda,sparsegpt,admm,swap")
    return parser
