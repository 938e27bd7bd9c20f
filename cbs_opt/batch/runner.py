"""Running a batch, from its plan to its last result."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cbs_opt.batch.backends import Backend, backend_of
from cbs_opt.batch.loop import Loop
from cbs_opt.batch.plan import Plan
from cbs_opt.batch.record import record_of
from cbs_opt.batch.settings import Settings
from cbs_opt.batch.solver_process import Answer, Limits
from cbs_opt.batch.tally import Tally
from cbs_opt.batch.worker import POOL
from cbs_opt.kernel.display import Card, Displayed
from cbs_opt.kernel.interrupts import interrupts_held, terminations_as_interrupts
from cbs_opt.kernel.words import duration
from cbs_opt.store.reader import open_store
from cbs_opt.store.rows import FAILED, Record
from cbs_opt.store.writer import StoreLookup, StoreWriter

SHOWN_FAILURES = 20
"""The largest number of failures in a ``BatchResult``; the store has all of them."""


@dataclass(frozen=True)
class Failure:
    """A task without an answer.

    Parameters
    ----------
    file : str
        The file of the block.
    method, asked : str
        The method, and what was asked of the block, for instance 'sparsity 0.8'.
    reason, error : str
        One of ``cbs_opt.store.REASONS``, and a sentence.
    """

    file: str
    method: str
    asked: str
    reason: str
    error: str


@dataclass(repr=False)
class BatchResult(Displayed):
    """What one run of a batch has done, as ``run_batch`` returns it; the answers themselves are in the store.

    Parameters
    ----------
    store : Path
        The file with all results.
    asked : int
        The number of all tasks, whether they were done before or not.
    before : int
        The number of tasks that are not done in this run because the store has their results, failed ones included.
    solved : int
        The number of tasks that this run has brought to an end, failed ones included.
    tally : Tally
        Counts of all results of the batch's tasks, from before and from this run, by method and pattern.
    failures : list
        The first failures of this run.
    broken : list of str
        Answers in the store that lie below a proven bound on their block, each of which is a bug in a bound.
    notices : list of str
        What happened on the way: methods that were left out, workers that died.
    seconds : float
        Wall time of this run, planning included.
    interrupted : bool
        Whether the user ended the run.
    """

    store: Path
    asked: int
    before: int
    tally: Tally
    solved: int = 0
    failures: list[Failure] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def left(self) -> int:
        """The number of tasks that were not tried."""
        return self.asked - self.before - self.solved

    @property
    def exit_code(self) -> int:
        """The exit code of the command: 130 if interrupted, 1 if a task failed or a bound is broken, and otherwise 0.

        Tasks that failed in an earlier run count, too.
        """
        if self.interrupted:
            return 130
        return 1 if self.tally.sums()[3] or self.broken else 0

    def _card(self) -> Card:
        failed = self.tally.sums()[3]
        return Card(
            f"{self.solved:,} tasks solved in {duration(self.seconds)}, {self.before:,} before, {self.left:,} left, "
            f"{failed:,} failed",
            {"store": str(self.store)},
            headings=("failed block", "method", "asked", "why"),
            rows=[(failure.file, failure.method, failure.asked, failure.error) for failure in self.failures],
            notes=[*self.broken, *self.notices],
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields and counts as plain data for JSON."""
        return {
            "store": str(self.store),
            "asked": self.asked,
            "before": self.before,
            "solved": self.solved,
            "left": self.left,
            "failed": self.tally.sums()[3],
            "reasons": dict(self.tally.reasons),
            "lines": self.tally.to_dict(),
            "failures": [dict(failure.__dict__) for failure in self.failures],
            "broken": self.broken,
            "notices": self.notices,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
        }


class Watcher(Protocol):
    """The interface of an object that is told about the progress of a batch, for instance to show it."""

    def begin(self, result: BatchResult, backend: Backend) -> None:
        """Called once the plan is made and the workers are ready."""

    def advance(self, result: BatchResult, remaining: float | None) -> None:
        """Called when results were stored; ``remaining`` estimates the seconds until the end, None while unknown."""

    def notice(self, text: str) -> None:
        """Called with a sentence when something happens that the user should know."""


def plan_batch(settings: Settings, *, retry_failed: bool = False) -> Plan:
    """The plan of a batch, to see what ``run_batch`` would do; nothing is solved or written.

    Parameters
    ----------
    settings : Settings
        The settings of the batch.
    retry_failed : bool
        Whether tasks that have failed before are done again.

    Raises
    ------
    InputError, MethodError, StoreError
        The request cannot be met, or the store cannot be read.
    """
    lookup = StoreLookup(settings.store)
    try:
        return Plan(settings, lookup.known, retry_failed=retry_failed)
    finally:
        lookup.close()


def run_batch(settings: Settings, *, retry_failed: bool = False, watcher: Watcher | None = None) -> BatchResult:
    """Solve all tasks of a batch that the store has no result for, and store each result when it is there.

    Calling it again with the same settings resumes a batch that was interrupted.

    Parameters
    ----------
    settings : Settings
        The settings of the batch.
    retry_failed : bool
        Whether tasks that have failed before are done again.
    watcher : Watcher, optional
        An object that is told about the progress.

    Returns
    -------
    BatchResult
        What was done, after Ctrl-C until then.

    Raises
    ------
    InputError, MethodError, StoreError
        The request cannot be met, or the store cannot be written to; this is found before anything is solved. Only a
        ``StoreError`` may also come later, when the disk is full; what was written is then safe.
    """
    started = time.monotonic()
    with StoreWriter(settings.store) as store, terminations_as_interrupts():
        plan = Plan(settings, store.known, retry_failed=retry_failed)
        result = BatchResult(store.path, plan.tasks, plan.tasks - len(plan.pending), plan.tally)
        result.notices += [f"left out: {reason}" for reason in plan.left_out.values()]
        if plan.repeated:
            result.notices.append(f"{plan.repeated} files hold what another file holds, too; it is solved once")
        try:
            if len(plan.pending):
                with backend_of(settings) as backend:
                    if watcher is not None:
                        watcher.begin(result, backend)
                    _Run(settings, plan, store, backend, result, watcher).go()
        except KeyboardInterrupt:
            result.interrupted = True
        finally:
            POOL.clear()
    result.broken = _broken(result.store)
    result.seconds = time.monotonic() - started
    return result


class _Run:
    """Runs the loop of a batch, and writes and counts its answers."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        store: StoreWriter,
        backend: Backend,
        result: BatchResult,
        watcher: Watcher | None,
    ) -> None:
        self._plan, self._store, self._backend, self._result, self._watcher = plan, store, backend, result, watcher
        limits = Limits(settings.time_limit, settings.memory_limit)
        self._loop = Loop(plan, backend, limits, self._write, self._say)

    def go(self) -> None:
        """Solve tasks until none is left."""
        self._loop.go()

    def _write(self, answers: tuple[Answer, ...], environment: dict[str, str]) -> None:
        records = [record_of(answer, *self._plan.task(answer.task), environment) for answer in answers]
        with interrupts_held():  # so that every result in the store is counted
            self._store.write(records)
            for answer, record in zip(answers, records, strict=True):
                self._count(answer, record)
        if self._watcher is not None:
            self._watcher.advance(self._result, self._loop.queue.pace.remaining(self._backend.jobs))

    def _count(self, answer: Answer, record: Record) -> None:
        found, result = record.result, self._result
        result.solved += 1
        combination = self._plan.task(answer.task)[1]
        result.tally.add(combination.spec, found.asked, found.done, found.proven, found.gap, found.reason)
        if found.status == FAILED and len(result.failures) < SHOWN_FAILURES:
            result.failures.append(
                Failure(record.block.file, found.method, found.asked, str(found.reason), str(found.error))
            )

    def _say(self, text: str) -> None:
        self._result.notices.append(text)
        if self._watcher is not None:
            self._watcher.notice(text)


def _broken(store: Path) -> list[str]:
    """One sentence for each answer in the store that lies below a proven bound on the same block."""
    if not store.exists():
        return []
    with open_store(store) as opened:
        return [
            f"{gap.name}, {gap.asked}: a proven bound of {gap.bound:.9g} lies above the objective {gap.objective:.9g} "
            f"of {gap.method}; this is a bug in the bound, please report the block"
            for gap in opened.gaps(broken=True)
        ]
