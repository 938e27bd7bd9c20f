"""What a worker of joblib does with a group of tasks: have them solved, and bring back what came out."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cbs_opt.batch.solver_process import Answer, Limits, Pool

LONG_ENOUGH = 1.0
"""Seconds after which a group is brought back half done, so that what is solved gets into the store."""

POOL = Pool()


@dataclass(frozen=True)
class Returned:
    """A group that came back: its number, answers, seconds in all, and what they were computed with."""

    group: int
    answers: tuple[Answer, ...]
    seconds: float
    environment: dict[str, str]


def work(group: int, tasks: Sequence[dict[str, Any]], limits: Limits, parent: int | None) -> Returned:
    """Solve the tasks of a group, or those that fit into about a second; at least one.

    ``parent`` is the process that started this worker, where it did: without it nobody wants the answers.
    """
    if parent is not None:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    started = time.monotonic()
    solver, answers = POOL.take(limits, parent), []
    try:
        for position, task in enumerate(tasks):
            enough = time.monotonic() - started > LONG_ENOUGH
            ahead = None if enough or position + 1 == len(tasks) else tasks[position + 1]
            answers.append(solver.solve(task, ahead))
            if enough:
                break
    except BaseException:
        solver.end()
        raise
    POOL.give(solver)
    return Returned(group, tuple(answers), time.monotonic() - started, solver.environment)
