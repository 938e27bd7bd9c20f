"""`python -m benchmarks.exact.patterns`: every pattern x every exact method, bound and heuristic, against enumeration.

A case is drawn from its seed: a pattern of one of sixteen kinds on at most ten weights, in a third of them with weights
forced and forbidden, under a curvature of ``cbs_opt.testing.instances`` (ill-conditioned, tied, duplicates, integers,
units), at scales up to 1e±100, some with a first-order term, some as a factor or as two rows of a layer. Wrong is: a
bound above the optimum by more than the evaluation may be wrong by; a mask outside the pattern, or of less than the
optimum; 'optimal' of anything else; an error that is no refusal.

Every case is put to bnb, lower_bound, both enumerations, all heuristics, and by turns one of the methods that run a
solver. The rows of the seeds asked for are replaced in ``patterns.jsonl`` and the page ``patterns.md`` is written anew
from all of them. The exit status is 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.exact.patterns.draw import case
from benchmarks.exact.patterns.judge import judged
from benchmarks.exact.patterns.page import write_page
from benchmarks.recording import Row, replace_rows
from cbs_opt.kernel.environment import environment

CHUNK = 50


def main(arguments: list[str] | None = None) -> int:
    """Draw, ask, record, write the page."""
    asked = _parser().parse_args(arguments)
    log, shared = asked.out / "patterns.jsonl", {"part": "patterns", "cbs-opt": environment()["cbs-opt"]}
    failed, end = 0, asked.first_seed + asked.count
    for first in range(asked.first_seed, end, CHUNK):
        # Written after each chunk: what was found is not lost when the run is.
        fresh = [shared | _row(seed) for seed in range(first, min(first + CHUNK, end))]
        failed += sum(len(row["wrong"]) for row in fresh)
        replace_rows(log, fresh, _seed)
    rows = sorted(replace_rows(log, [], _seed), key=_seed)
    print(f"{asked.count} cases, {failed} violations; wrote {write_page(rows, asked.out)}")  # noqa: T201
    return 1 if failed else 0


def _seed(row: Row) -> int:
    return int(row["seed"])


def _row(seed: int) -> Row:
    with np.errstate(all="ignore"):
        drawn = case(seed)
        answers, wrong, best = judged(drawn)
    for words in wrong:
        print(f"{drawn.problem.name}: {words}", file=sys.stderr, flush=True)  # noqa: T201
    return drawn.to_dict() | {"optimum": best.value, "answers": answers, "wrong": wrong}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exact.patterns",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=2000, help="cases, of consecutive seeds; 0 writes the page only")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser
