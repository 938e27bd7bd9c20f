"""The command line of the benchmark: one experiment at a time, its facts as JSON on stdout, in DIR/batch.jsonl, and on
the page DIR/batch.md."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.batch.bad_blocks import bad_blocks
from benchmarks.batch.blocks import make_blocks
from benchmarks.batch.killed import killed
from benchmarks.batch.page import write_page
from benchmarks.batch.throughput import throughput
from benchmarks.recording import Row, replace_rows
from cbs_opt.kernel.environment import environment


def main(arguments: list[str] | None = None) -> int:
    """Run one experiment; 1 where it does not show what it should."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("experiment", choices=("throughput", "killed", "bad", "page"))
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("docs/results"))
    parser.add_argument("--blocks", type=int, default=10_000, help="good blocks (default 10000)")
    parser.add_argument("--jobs", type=int, default=2, help="workers (default 2)")
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--kills", type=int, default=20, help="of 'killed' (default 20)")
    parser.add_argument("--longest", type=float, default=6.0, help="seconds before a kill, at most (default 6)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep blocks and stores here (default: a temporary folder)")
    asked = parser.parse_args(arguments)
    log = asked.out / "batch.jsonl"
    if asked.experiment == "page":
        print(f"wrote {write_page(replace_rows(log, [], _part), asked.out)}")  # noqa: T201
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        blocks = folder / f"blocks-{asked.blocks}-{asked.seed}"
        if not blocks.exists():
            print(f"making {asked.blocks} blocks in {blocks}", file=sys.stderr)  # noqa: T201
            make_blocks(blocks, asked.blocks, asked.seed)
        if asked.experiment == "throughput":
            facts = throughput(folder, blocks, asked.jobs, asked.sparsity)
        elif asked.experiment == "killed":
            facts = killed(folder, blocks, asked.jobs, asked.sparsity, asked.kills, asked.longest, asked.seed)
        else:
            facts = bad_blocks(folder, blocks, asked.jobs, asked.sparsity)
    print(json.dumps(facts, indent=1))  # noqa: T201
    shared = {"part": asked.experiment, "cbs-opt": environment()["cbs-opt"], "cores": environment()["cores"]}
    page = write_page(replace_rows(log, [shared | facts], _part), asked.out)
    print(f"wrote {page}", file=sys.stderr)  # noqa: T201
    return 0 if facts["holds"] else 1


def _part(row: Row) -> str:
    return str(row["part"])
