"""`python -m benchmarks.exact.n_of_m`: 2:4 and 4:8 blocks by bnb and by Gurobi 13, and how near ``lower_bound`` comes.

Generated blocks (``benchmarks/exact/families.py``) and, with --blocks, a folder of block files. Compiled loops are
loaded before anything is timed; a table is worth what the quiet of the machine was. The rows of the same block and
pattern are replaced in ``n_of_m.jsonl`` and the page ``n_of_m.md`` is written anew from all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.exact.families import FAMILIES, Instance, instances
from benchmarks.exact.n_of_m.measure import measured
from benchmarks.exact.n_of_m.page import write_page
from benchmarks.recording import Row, replace_rows
from cbs_opt import PruningProblem, Quotas
from cbs_opt.kernel.environment import environment
from cbs_opt.solvers.exact import bnb

PATTERNS = ((2, 4), (4, 8))
MOST = 99
"""Weights of a block file: what Gurobi's restricted licence takes."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, record, write the page."""
    asked = _parser().parse_args(arguments)
    log, known = asked.out / "n_of_m.jsonl", environment()
    rows = replace_rows(log, [], _key)
    if not asked.page:
        bnb.prepare()
        # What is loaded with the first solve is not charged to a block.
        for warm in instances(["gram"], [8], [1e-2], [0.5], [0]):
            list(measured(replace(warm, problem=warm.problem.within(Quotas.n_of_m(8, 2, 4))), 1.0, 1))
    for instance, pattern in () if asked.page else _posed(asked):
        shared = {"part": "n-of-m", "pattern": pattern, "cbs-opt": known["cbs-opt"], "cores": known["cores"]}
        fresh: list[Row] = []
        for record in measured(instance, asked.time_limit, asked.repeat):
            fresh.append(shared | record.to_dict())
            print(json.dumps(fresh[-1]), file=sys.stderr, flush=True)  # noqa: T201
        # After each block: what was measured is not lost when the run is.
        rows = replace_rows(log, fresh, _key)
    print(f"wrote {write_page(rows, asked.out)}")  # noqa: T201
    return 0


def _key(row: Row) -> object:
    return row["instance"], row["engine"]


def _posed(asked: argparse.Namespace) -> Iterator[tuple[Instance, str]]:
    for instance in _blocks(asked):
        n = instance.problem.n
        for keep, of in PATTERNS:
            if n % of == 0:
                name = f"{instance.name}, {keep}:{of}"
                yield (
                    replace(instance, name=name, problem=instance.problem.within(Quotas.n_of_m(n, keep, of))),
                    (f"{keep}:{of}"),
                )


def _blocks(asked: argparse.Namespace) -> Iterator[Instance]:
    for file in sorted(asked.blocks.glob("*.npz")) if asked.blocks else ():
        block = PruningProblem.load(file)
        if block.n <= MOST:
            yield Instance(file.stem, "file", block)
    families = asked.families.split(",") if asked.families else []
    sizes, dampings = asked.sizes.split(","), asked.dampings.split(",")
    for instance in instances(families, list(map(int, sizes)), list(map(float, dampings)), [0.5], [asked.seed]):
        yield replace(instance, name=instance.problem.name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exact.n_of_m",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--blocks", type=Path, help="folder of block files, of which those of at most 99 weights count")
    parser.add_argument("--families", default=",".join(FAMILIES), help="generated families; empty for none")
    parser.add_argument("--sizes", default="32,48,64", help="multiples of four")
    parser.add_argument("--dampings", default="1e-2,1e-4", help="of the mean diagonal")
    parser.add_argument("--seed", type=int, default=13, help="of the generated blocks")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds for bnb")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of fast solves")
    parser.add_argument("--page", action="store_true", help="write the page only")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser
