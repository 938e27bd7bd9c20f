"""`python -m benchmarks.formulations`: every formulation with every solver that can take it, on generated blocks.

One thread, a few seconds a solve. The rows go into ``formulations.jsonl``, those of the same block and formulation
replaced, and the page ``formulations.md`` is written anew from all of them (with --page nothing is measured).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.exact.families import FAMILIES, instances
from benchmarks.formulations.measure import FORMULATIONS, SOLVERS, Posed, rows_of
from benchmarks.formulations.page import write_page
from benchmarks.recording import Row, replace_rows
from cbs_opt import Cardinality, PruningProblem, Quotas
from cbs_opt.kernel.environment import environment
from cbs_opt.solvers.exact import bnb

PATTERNS = {
    "80 %": lambda n: Cardinality.from_sparsity(n, 0.8),
    "2:4": lambda n: Quotas.n_of_m(n, 2, 4),
}
DAMPING = 1e-3


def main(arguments: list[str] | None = None) -> int:
    """Measure, record, write the page."""
    asked = _parser().parse_args(arguments)
    fresh: list[Row] = []
    if not asked.page:
        bnb.prepare()
        known = environment()
        shared = {"part": "formulations", "cbs-opt": known["cbs-opt"], "cores": known["cores"]}
        for posed in _posed(asked):
            for name in asked.formulations.split(","):
                for row in rows_of(posed, name, asked.solvers.split(",") if asked.solvers else [], asked.time_limit):
                    fresh.append(shared | row)
                    print(json.dumps(row), file=sys.stderr, flush=True)  # noqa: T201
    rows = replace_rows(
        asked.out / "formulations.jsonl", fresh, lambda row: (row["instance"], row["formulation"], row["solver"])
    )
    print(f"wrote {write_page(rows, asked.out)}")  # noqa: T201
    return 0


def _posed(asked: argparse.Namespace) -> Iterator[Posed]:
    sizes, formulations = [int(size) for size in asked.sizes.split(",")], asked.formulations.split(",")
    for instance in instances(asked.families.split(","), sizes, [DAMPING], [0.5], [asked.seed]):
        block: PruningProblem = instance.problem
        for words, pattern in PATTERNS.items():
            with np.errstate(all="ignore"):
                yield Posed.of(
                    f"{instance.family} {block.n}, {words}", block.within(pattern(block.n)), formulations, 60.0
                )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.formulations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--sizes", default="16,24", help="multiples of four")
    parser.add_argument("--formulations", default=",".join(FORMULATIONS))
    parser.add_argument("--solvers", default=",".join(SOLVERS), help="empty for the root relaxations alone")
    parser.add_argument("--seed", type=int, default=5, help="of the generated blocks")
    parser.add_argument("--time-limit", type=float, default=3.0, help="seconds a solve")
    parser.add_argument("--page", action="store_true", help="write the page only")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser
