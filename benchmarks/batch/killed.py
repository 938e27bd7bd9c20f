"""A batch whose processes are all killed (SIGKILL) at random moments, again and again, against one left in peace."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

from benchmarks.batch.processes import start, watch
from cbs_opt.errors import StoreError
from cbs_opt.store import Result, open_store

METHODS = ("greedy-obs", "bnb")

Row = tuple[Any, ...]


def killed(
    folder: Path, blocks: Path, jobs: int, sparsity: float, kills: int, longest: float, seed: int
) -> dict[str, Any]:
    """Kill the batch ``kills`` times, let it finish, and compare its store with that of an undisturbed run.

    A kill comes at a moment drawn from (0, ``longest``) seconds; three of four wait for the first result of their
    run before, so that not all of them fall into the start-up.
    """
    draw = random.Random(seed)
    disturbed, peaceful = folder / "killed.sqlite", folder / "peaceful.sqlite"
    for store in (disturbed, peaceful):
        for suffix in ("", "-wal", "-shm", ".lock"):
            Path(f"{store}{suffix}").unlink(missing_ok=True)
    words = (blocks, "--sparsity", sparsity, "--methods", ",".join(METHODS), "--jobs", jobs)
    stored: dict[str, Row] = {}
    steps, changed, damaged = [], 0, 0
    for number in range(kills):
        batch = start(*words, "--store", disturbed)
        if number % 4:
            while batch.poll() is None and _count(disturbed) == len(stored):
                time.sleep(0.05)
        time.sleep(draw.uniform(0, longest))
        if batch.poll() is None:
            os.killpg(batch.pid, signal.SIGKILL)
        batch.communicate()
        damaged += not _sound(disturbed)
        now = _rows(disturbed)
        changed += sum(now.get(key) != row for key, row in stored.items())
        steps.append(len(now) - len(stored))
        stored = now
    last = watch(start(*words, "--store", disturbed))
    rows = _rows(disturbed)
    changed += sum(rows.get(key) != row for key, row in stored.items())
    calm = watch(start(*words, "--store", peaceful))
    ours, theirs = _answers(disturbed), _answers(peaceful)
    facts = {
        "kills": kills,
        "results_before_each_kill": steps,
        "results": len(rows),
        "results_of_the_undisturbed_run": len(theirs),
        "expected": len(list(blocks.glob("*.npz"))) * len(METHODS),
        "different_answers": sum(ours.get(key) != answer for key, answer in theirs.items()) + len(ours.keys() - theirs),
        "finished_rows_changed_later": changed,
        "solved_twice": _solved_twice(disturbed),
        "damaged_stores": damaged,
        "exit_codes": [last.code, calm.code],
    }
    facts["holds"] = (
        facts["results"] == facts["expected"] == facts["results_of_the_undisturbed_run"]
        and not facts["different_answers"]
        and not changed
        and not damaged
        and not facts["solved_twice"]
        and last.code == calm.code == 0
    )
    return facts


def _count(store: Path) -> int:
    try:
        with open_store(store) as opened:
            return sum(opened.counts().values())
    except StoreError:
        return 0  # not made yet


def _rows(store: Path) -> dict[str, Row]:
    """Rows as they are written, by key: whatever is solved again shows in its time."""
    try:
        with open_store(store) as opened:
            return {result.key: (result.id, result.seconds, result.finished) for result in opened.results()}
    except StoreError:
        return {}


def _answers(store: Path) -> dict[str, Row]:
    """What must not depend on when it was worked out."""
    with open_store(store) as opened:
        contents = {block.id: (block.content, block.n, block.unit) for block in opened.blocks()}
        return {result.key: (contents[result.block], *_answer(result)) for result in opened.results(arrays=True)}


def _answer(result: Result) -> Row:
    assert result.mask is not None
    assert result.weights is not None
    return (
        result.method,
        result.asked,
        result.seed,
        result.status,
        result.solution_status,
        result.objective,
        result.bound,
        result.selection_objective,
        result.nodes,
        result.pruned,
        result.mask.tobytes(),
        result.weights.tobytes(),
    )


def _solved_twice(store: Path) -> int:
    with open_store(store) as opened:
        return sum(result.attempts != 1 for result in opened.results())


def _sound(store: Path) -> bool:
    """Whether SQLite finds nothing wrong with the file."""
    if not store.exists():
        return True
    database = sqlite3.connect(store)
    try:
        return bool(database.execute("PRAGMA integrity_check").fetchone()[0] == "ok")
    finally:
        database.close()
