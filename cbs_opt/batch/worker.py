"""What a worker of joblib does with a group of tasks: it has them solved by its solver process, and returns answers."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cbs_opt.batch.solver_process import Answer, Limits, Pool

LONG_ENOUGH = 1.0
"""Seconds after which a group is returned even if tasks are left, so that its answers get into the store."""

POOL = Pool()


@dataclass(frozen=True)
class Returned:
    """A group that came back: its number, its answers, the seconds for all, and the versions that computed them."""

    group: int
    answers: tuple[Answer, ...]
    seconds: float
    environment: dict[str, str]


def work(group: int, tasks: Sequence[dict[str, Any]], limits: Limits, parent: int | None) -> Returned:
    """Solve the tasks of a group, or the first of them that fit into about a second; at least one.

    ``parent`` is the process that started this worker, without which it ends itself; None if it need not.
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
