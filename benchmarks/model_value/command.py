"""`python -m benchmarks.model_value`: run the grid on validation images, then write page and plots from the log."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.model_value.grid import GRID, Model, model_name, points
from benchmarks.model_value.page import PAGE, write_page
from benchmarks.model_value.runs import measured
from benchmarks.paper.runs import Log, Subject
from cbs_opt.errors import CbsOptError

DEFAULT_OUT = Path("docs/results")


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for and not yet in the log; write the page and its plots."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.data is None and asked.network != "digits" and not asked.page_only:
        parser.error(f"--data: name the folder with the checkpoint and the images of {asked.network}")
    log = Log(asked.out / f"{PAGE}.jsonl")
    failed = 0
    if not asked.page_only:
        subject = Subject.load(asked.network, asked.data)
        data = subject.validation
        for seed in range(asked.seeds):
            for model, method, sparsity in points(asked.network):
                failed += not _run(subject, data, log, model, method, sparsity, seed)
    print(f"wrote {write_page(log.entries, asked.out)}")  # noqa: T201
    return 1 if failed else 0


def _run(subject: Subject, data: Any, log: Log, model: Model, method: str, sparsity: float, seed: int) -> bool:
    """Whether the point is in the log now; one that fails is told, and does not stop the others."""
    words = f"{time.strftime('%H:%M:%S')} {model_name(model.arguments())}: {method}, sparsity {sparsity:g}, seed {seed}"
    try:
        entry = measured(subject, data, log, model.arguments(), method, sparsity, seed)
    except CbsOptError as error:
        print(f"{words}: failed: {error}", flush=True)  # noqa: T201
        return False
    if entry is not None:
        bound = "" if entry["bound"] is None else f", bound {entry['bound']:.6g}"
        figures = f"{100 * entry['accuracy']:.2f} %, objective {entry['objective']:.6g}{bound}"
        print(f"{words}: {figures}, {entry['seconds']:.1f} s", flush=True)  # noqa: T201
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_value", description=__doc__)
    parser.add_argument("--network", choices=list(GRID), default="mlpnet")
    parser.add_argument("--data", type=Path, help="folder with the checkpoints and the images; digits needs none")
    parser.add_argument("--seeds", type=int, default=1, help="0 to this number less one")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder of the log, the page and the plots")
    parser.add_argument("--page-only", action="store_true", help="write the page from the log; run nothing")
    return parser
