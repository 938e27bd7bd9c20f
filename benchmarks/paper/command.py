"""`python -m benchmarks.paper`: choose hyper-parameters on validation images, then run the tables on test images."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.paper.rows import ROWS, SPARSITIES
from benchmarks.paper.runs import Log, Subject, candidates, measure
from benchmarks.paper.table import write_tables

DEFAULT_OUT = Path("docs/results")


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for and not yet in the log; write tables and plots."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    network = asked.network
    if asked.data is None and network != "digits" and not asked.table_only:
        parser.error(f"--data: name the folder with the checkpoint and the images of {network}")
    rows = asked.rows.split(",") if asked.rows else list(ROWS[network])
    sparsities = [float(s) for s in asked.sparsities.split(",")] if asked.sparsities else SPARSITIES[network]
    for row in rows:
        if row not in ROWS[network]:
            print(f"error: no row {row!r}; there are {', '.join(ROWS[network])}", file=sys.stderr)  # noqa: T201
            return 2
    log = Log(asked.out / f"{network}.jsonl")
    if not asked.table_only:
        subject = Subject.load(network, asked.data)
        for row in rows:
            for sparsity in sparsities:
                chosen = _choose(subject, log, row, sparsity)
                for seed in range(asked.seeds):
                    _run(subject, log, row, sparsity, seed, chosen)
    print(f"wrote {write_tables(network, log.entries, asked.out)}")  # noqa: T201
    return 0


def _choose(subject: Subject, log: Log, row: str, sparsity: float) -> dict[str, Any]:
    """The candidate with the best validation accuracy, seed 0; only candidates not in the log are tried."""
    tried = list(candidates(subject.name, row))
    if len(tried) == 1:
        return tried[0]
    scores = []
    for candidate in tried:
        key = {"network": subject.name, "row": row, "sparsity": sparsity, "chosen": candidate, "test": False}
        entry = log.find(**key)
        if entry is None:
            entry = {**measure(subject, subject.validation, row, sparsity, 0, candidate, bound=False), "test": False}
            log.add(entry)
            _say("validation", entry)
        scores.append(entry["accuracy"])
    return tried[scores.index(max(scores))]


def _run(subject: Subject, log: Log, row: str, sparsity: float, seed: int, chosen: dict[str, Any]) -> None:
    if log.find(network=subject.name, row=row, sparsity=sparsity, seed=seed, chosen=chosen, test=True):
        return
    bound = ROWS[subject.name][row].bound
    entry = {**measure(subject, subject.data, row, sparsity, seed, chosen, bound), "test": True}
    log.add(entry)
    _say("test", entry)


def _say(part: str, entry: dict[str, Any]) -> None:
    gap = "" if entry["gap"] is None else f", gap {100 * entry['gap']:.3f} %"
    what = f"{entry['network']} {entry['row']} {entry['sparsity']} seed {entry['seed']} {entry['chosen']}"
    reached = f"{100 * entry['accuracy']:.2f} % (without update {100 * entry['accuracy_without_update']:.2f} %)"
    told = f"{time.strftime('%H:%M:%S')} {part:10} {what}: {reached}{gap}, {entry['seconds']:.1f} s"
    print(told, flush=True)  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__)
    parser.add_argument("--network", choices=list(ROWS), default="mlpnet")
    parser.add_argument("--data", type=Path, help="folder with the checkpoints and the images; digits needs none")
    parser.add_argument("--rows", help="names of rows, comma between them; all if left out")
    parser.add_argument("--sparsities", help="comma between them; those of the paper if left out")
    parser.add_argument("--seeds", type=int, default=5, help="0 to this number less one")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder of the log, the tables and the plots")
    parser.add_argument("--table-only", action="store_true", help="write the tables from the log; run nothing")
    return parser
