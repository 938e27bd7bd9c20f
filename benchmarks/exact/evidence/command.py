"""`python -m benchmarks.exact.evidence PART …`: what the exact engines claim, measured and recorded.

    fuzz        random blocks against enumeration
    bounds      bounds against the optimum in fractions, where H is made of the user's arrays (--count of each kind)
    agreement   bnb, highs-oa and scip on 100 generated blocks of 20 to 40 weights
    blocks      bnb and Gurobi on a folder of blocks with known optima (--blocks)
    families    bnb and Gurobi on generated blocks (--sizes)
    chunks      bnb on chunks of MLPNet's Fisher matrix, 100 and 128 weights (--data)
    cold        bnb's first call in a new process, with and without compiled code on disk
    memory      a run on 128 weights that cannot finish

Each part replaces its rows (of the same n) in ``exact.jsonl`` and writes the page ``exact.md`` anew from all of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.exact import fuzz, rounding
from benchmarks.exact.chunks import chunks
from benchmarks.exact.command import of_folder
from benchmarks.exact.evidence.page import write_page
from benchmarks.exact.families import FAMILIES, Instance, instances
from benchmarks.exact.measure import Engine, first_calls, measure, processor_time
from benchmarks.recording import Row, replace_rows
from cbs_opt import solve
from cbs_opt.kernel.environment import environment
from cbs_opt.testing.instances import random_problem

GAP = 1e-4


def run_fuzz(asked: argparse.Namespace) -> Iterator[Row]:
    """One row per engine."""
    for engine in ("bnb", "bnb-selection"):
        before, seed, blocks, wrong = processor_time(), 0, 0, []
        with np.errstate(all="ignore"):
            while blocks < asked.count:
                problem = random_problem(seed)
                if problem is not None:  # positive definite in float64
                    blocks += 1
                    wrong += [f"seed {seed}: {words}" for words in fuzz.violations(problem, engine)]
                seed += 1
        yield {"engine": engine, "blocks": blocks, "violations": wrong, "cpu": processor_time() - before}


def run_bounds(asked: argparse.Namespace) -> Iterator[Row]:
    """One row per kind of problem and bound."""
    for factors in (True, False):
        yield from rounding.fuzz(asked.count, asked.first_seed, factors)


AGREEMENT = ((1e-2, 0.5), (1e-2, 0.9), (1e-3, 0.8), (1e-4, 0.5), (1e-4, 0.8))
"""Damping and sparsity."""


def run_agreement(asked: argparse.Namespace) -> Iterator[Row]:
    """Every engine on every block; a bound above another one's incumbent is an error and ends the run."""
    for damping, sparsity in AGREEMENT:
        for instance in instances(list(FAMILIES), (20, 22, 25, 30, 40), [damping], [sparsity], [asked.seed]):
            yield from _timed(instance, ("bnb", "highs-oa", "scip"), asked.time_limit)


def run_blocks(asked: argparse.Namespace) -> Iterator[Row]:
    """The folder's blocks at their own numbers of zeros."""
    for instance in of_folder(asked.blocks, []):
        for row in _against_gurobi(instance, asked.time_limit):
            yield row | {"optimum": instance.optimum}


def run_families(asked: argparse.Namespace) -> Iterator[Row]:
    """All four families."""
    sizes = [int(size) for size in asked.sizes.split(",")]
    for instance in instances(list(FAMILIES), sizes, (1e-2, 1e-3), (0.5, 0.8, 0.9), [asked.seed]):
        yield from _against_gurobi(instance, asked.time_limit)


def run_chunks(asked: argparse.Namespace) -> Iterator[Row]:
    """One of each layer, at three sparsities, on one thread and on two."""
    for n in (100, 128):
        for sparsity in (0.5, 0.8, 0.9):
            for instance in chunks(asked.data, n, 1e-3, sparsity, asked.seed):
                yield from _timed(instance, ("bnb", "bnb:threads=2"), asked.time_limit)


def run_cold(asked: argparse.Namespace) -> Iterator[Row]:
    """On a generated block of 40 weights."""
    instance = next(instances(["gram"], [40], [1e-3], [0.8], [asked.seed]))
    yield first_calls(instance, Engine.parse("bnb"), asked.time_limit, GAP)


def run_memory(asked: argparse.Namespace) -> Iterator[Row]:
    """In a process of its own, which says what it held at most."""
    command = [sys.executable, "-m", "benchmarks.exact.evidence", "one-run", "--time-limit", str(asked.time_limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    yield json.loads(done.stdout.splitlines()[-1])


def one_run(asked: argparse.Namespace) -> Row:
    """Fisher, n = 128, damping 1e-4, sparsity 0.8."""
    instance = next(instances(["fisher"], [128], [1e-4], [0.8], [asked.seed]))
    found = solve(instance.problem, "bnb", gap=GAP, time_limit=asked.time_limit)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "instance": instance.name,
        "seconds": found.seconds,
        "nodes": found.nodes,
        "objective": found.objective,
        "bound": found.bound,
        "gap": found.gap,
        "status": str(found.solution_status),
        "termination": str(found.termination_condition),
        "peak_bytes": peak,
    }


def _timed(instance: Instance, engines: Sequence[str], time_limit: float, repeat: int = 1) -> Iterator[Row]:
    for record in measure(instance, [Engine.parse(engine) for engine in engines], time_limit, GAP, repeat):
        yield record.to_dict() | {"time_limit": time_limit}


PATIENCE = 20
"""Gurobi is stopped after so many times what bnb took, and never before the time limit."""


def _against_gurobi(instance: Instance, time_limit: float) -> Iterator[Row]:
    (alone,) = measure(instance, [Engine.parse("bnb")], time_limit, GAP, 1)
    limit = max(time_limit, PATIENCE * (alone.seconds or 0.0))
    yield from _timed(instance, ("bnb", "gurobi"), limit, 3)


PARTS: dict[str, Callable[[argparse.Namespace], Iterable[Row]]] = {
    "fuzz": run_fuzz,
    "bounds": run_bounds,
    "agreement": run_agreement,
    "blocks": run_blocks,
    "families": run_families,
    "chunks": run_chunks,
    "cold": run_cold,
    "memory": run_memory,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the part, record it, write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exact.evidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=[*PARTS, "one-run", "page"])
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--count", type=int, default=2000, help="blocks of the fuzz")
    parser.add_argument("--first-seed", type=int, default=100_000, help="of the bounds")
    parser.add_argument("--sizes", default="32,40,64", help="of the families")
    parser.add_argument("--seed", type=int, default=11, help="of the generated blocks")
    parser.add_argument("--time-limit", type=float, default=10.0, help="seconds a solve")
    parser.add_argument("--blocks", help="folder of block files")
    parser.add_argument("--data", type=Path, help="folder with mnist.npz and mlpnet_mnist.npz")
    asked = parser.parse_args(arguments)
    if asked.part == "one-run":
        print(json.dumps(one_run(asked)))  # noqa: T201
        return 0
    if (asked.part == "blocks" and not asked.blocks) or (asked.part == "chunks" and not asked.data):
        parser.error(f"{asked.part}: say where they are (--blocks, --data)")
    fresh: list[Row] = []
    if asked.part != "page":
        shared = {"part": asked.part, "cbs-opt": environment()["cbs-opt"], "cores": environment()["cores"]}
        for row in PARTS[asked.part](asked):
            fresh.append(shared | row)
            print(json.dumps(row), file=sys.stderr, flush=True)  # noqa: T201
    rows = replace_rows(asked.out / "exact.jsonl", fresh, lambda row: (row["part"], row.get("n")))
    print(f"wrote {write_page(rows, asked.out)}")  # noqa: T201
    return 0
