"""The command line of the benchmark of exact engines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exact import families
from benchmarks.exact.families import FAMILIES, Instance, instances
from benchmarks.exact.measure import Engine, Record, first_calls, measure
from benchmarks.exact.summary import write
from cbs_opt import PruningProblem, methods
from cbs_opt.kernel.environment import environment
from cbs_opt.kernel.patterns import prune_count

ENGINES = ("bnb", "highs-oa", "scip", "gurobi")
"""Those of them that are available here run by default."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 unless engines contradict each other (an exception) or nothing could run."""
    options = _parser().parse_args(arguments)
    engines = [Engine.parse(text) for text in options.methods.split(",")] if options.methods else _available()
    chosen = list(_instances(options))
    if not engines or not chosen:
        print("nothing to run: no engine or no instance", file=sys.stderr)  # noqa: T201
        return 2
    records: list[Record] = []
    setting = _setting(options, engines)
    cold: list[dict[str, Any]] = []
    if not options.no_cold:
        cold = [first_calls(chosen[0], engine, options.time_limit, options.gap) for engine in engines]
    for number, instance in enumerate(chosen, 1):
        rows = measure(instance, engines, options.time_limit, options.gap, options.repeat)
        records += rows
        times = [f"{r.engine} {r.status}" + ("" if r.seconds is None else f" {r.seconds:.3f} s") for r in rows]
        print(f"{number}/{len(chosen)} {instance.name}: {', '.join(times)}", file=sys.stderr, flush=True)  # noqa: T201
        # Written after each instance: what was measured is not lost when the run is.
        page = write(Path(options.out), records, options.against, cold, setting)
    print(page.split("## All solves")[0])  # noqa: T201
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exact",
        description="Time exact engines on blocks, one thread each, and check that they agree.",
    )
    parser.add_argument("--blocks", help="folder of block files, with `prune` and `optimum` arrays or without")
    parser.add_argument("--families", default=",".join(FAMILIES), help="generated families; empty for none")
    parser.add_argument("--sizes", default=",".join(map(str, families.SIZES)))
    parser.add_argument("--dampings", default=",".join(map(str, families.DAMPINGS)), help="of the mean diagonal")
    parser.add_argument("--sparsities", default=",".join(map(str, families.SPARSITIES)))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--methods", help="engines, as in bnb,gurobi:formulation=joint-perspective,pyomo:cplex_direct")
    parser.add_argument("--against", default="gurobi", help="the engine the ratios are taken against")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds a solve")
    parser.add_argument("--gap", type=float, default=1e-4)
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of fast solves")
    parser.add_argument("--no-cold", action="store_true", help="do not measure first calls in new processes")
    parser.add_argument("--out", default="benchmark-exact", help="folder for results.md, .csv and .json")
    return parser


def _available() -> list[Engine]:
    known = methods()
    return [Engine.parse(name) for name in ENGINES if name in known and known[name].unavailable_because() is None]


def _instances(options: argparse.Namespace) -> Iterator[Instance]:
    sparsities = [float(part) for part in options.sparsities.split(",")]
    if options.blocks:
        yield from of_folder(options.blocks, sparsities)
    if options.families:
        yield from instances(
            options.families.split(","),
            [int(part) for part in options.sizes.split(",")],
            [float(part) for part in options.dampings.split(",")],
            sparsities,
            [int(part) for part in options.seeds.split(",")],
        )


def of_folder(folder: str | Path, sparsities: Sequence[float]) -> Iterator[Instance]:
    """The blocks of a folder, at the numbers of zeros in their ``prune`` array or at ``sparsities``."""
    for file in sorted(Path(folder).glob("*.npz")):
        yield from _of_file(file, sparsities)


def _of_file(file: Path, sparsities: Sequence[float]) -> Iterator[Instance]:
    block = PruningProblem.load(file)
    with np.load(file, allow_pickle=False) as arrays:
        counts = arrays["prune"].tolist() if "prune" in arrays else [prune_count(block.n, r) for r in sparsities]
        optima = arrays["optimum"].tolist() if "optimum" in arrays else [None] * len(counts)
    for k, optimum in zip(counts, optima, strict=True):
        yield Instance(f"{file.stem} prune={k}", "file", block.pruning(int(k)), optimum)


def _setting(options: argparse.Namespace, engines: Sequence[Engine]) -> dict[str, Any]:
    facts: dict[str, Any] = dict(environment())
    for package in ("pyscipopt", "gurobipy"):
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    facts |= {"engines": ",".join(engine.name for engine in engines), "against": options.against}
    return facts | {"time limit": options.time_limit, "gap": options.gap, "repeat": options.repeat}
