"""A solver process that is watched from outside: if a task exceeds its limits, it is killed and a new one started.

Code cannot keep its own limits reliably: compiled loops and external solvers do not look at a clock, and do not count
the memory that they take. So tasks are solved in a process of their own, and the code here only watches its pipes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from cbs_opt.batch.frames import Frames, task_frame
from cbs_opt.errors import SolverError
from cbs_opt.store.rows import FAILED, MEMORY_LIMIT, TIME_LIMIT, WORKER_DIED

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
LOOK = 0.1
"""Seconds between two checks of the memory of a process that has not answered yet."""

GRACE, GRACE_SHARE = 2.0, 0.1
"""After the time limit a method has GRACE seconds, or GRACE_SHARE of the limit if that is longer, to stop by itself."""


@dataclass(frozen=True)
class Limits:
    """The limits of one task: seconds, and bytes of memory of its process; None for no limit."""

    time: float | None = None
    memory: int | None = None

    @property
    def patience(self) -> float | None:
        """Seconds after which the process is killed; None for never."""
        return None if self.time is None else self.time + max(GRACE, GRACE_SHARE * self.time)


@dataclass(frozen=True)
class Answer:
    """The answer to one task, or its failure: its number, the facts as JSON, and mask and weights as bytes."""

    task: int
    facts: bytes
    arrays: bytes = b""

    @classmethod
    def failed(cls, task: int, reason: str, error: str, seconds: float | None = None) -> Answer:
        """The ``Answer`` for a task that has failed, with the reason and a sentence."""
        facts: dict[str, Any] = {"block": {}, "status": FAILED, "reason": reason, "error": error, "seconds": seconds}
        return cls(task, json.dumps(facts).encode())


@dataclass
class _Ended(Exception):
    """The process has ended before it answered; ``reason`` is None where the cause is unknown."""

    reason: str | None
    error: str
    ready: bool
    seconds: float = 0.0


@dataclass
class SolverProcess:
    """One solver process, which is started when it is needed and replaced when it has ended.

    ``environment`` holds the versions that answers were computed with, from the first answer on.
    """

    limits: Limits
    parent: int | None = None
    """The process that started this worker, which ends itself when that process is gone; None if it need not."""
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _prepared: set[str] = field(default_factory=set)
    _ahead: dict[str, Any] | None = None
    _said: Any = None
    _frames: Frames = field(default_factory=Frames)

    def solve(self, task: dict[str, Any], ahead: dict[str, Any] | None = None) -> Answer:
        """Solve one task; it has failed if two processes die at it for an unknown reason.

        Parameters
        ----------
        task : dict
            The message of the task.
        ahead : dict, optional
            The task that will be solved next. It is sent along if it is short, so that the process need not wait for
            it.

        Raises
        ------
        SolverError
            The solver process does not start.
        """
        deaths = false_starts = 0
        while True:
            try:
                return self._solve(task, ahead)
            except _Ended as ended:
                self.end()
                deaths, false_starts = deaths + ended.ready, false_starts + (not ended.ready)
                if ended.reason is not None or deaths == 2:
                    reason = ended.reason or WORKER_DIED
                    return Answer.failed(task["task"], reason, ended.error, ended.seconds)
                if false_starts == 3:
                    raise SolverError(f"the solver process does not start: {ended.error}") from None

    def _solve(self, task: dict[str, Any], ahead: dict[str, Any] | None) -> Answer:
        process = self._running()
        sent, self._ahead = self._ahead, None
        following = b"" if ahead is None else task_frame(ahead)
        try:
            if task is not sent:
                _send(process, task_frame(task))
            if 0 < len(following) <= select.PIPE_BUF:
                # The pipe takes it at once. Sending a longer message could block until the process reads on, while the
                # process waits for its answer to be read.
                _send(process, following)
                self._ahead = ahead
        except BrokenPipeError:  # the process has ended itself after a time without work
            raise _Ended(None, self._last_words(), ready=False) from None
        if task["method"] not in self._prepared:
            self.environment = json.loads(self._next(process, patience=None, ready=False)[0])["environment"]
            self._prepared.add(task["method"])
        return Answer(task["task"], *self._next(process, self.limits.patience, ready=True))

    def _next(self, process: subprocess.Popen[bytes], patience: float | None, ready: bool) -> tuple[bytes, bytes]:
        """The next message; kills the process if it takes too much time or memory."""
        assert process.stdout is not None
        started, descriptor = time.monotonic(), process.stdout.fileno()
        while (message := self._frames.take()) is None:
            spent = time.monotonic() - started
            if patience is not None and spent > patience:
                process.kill()
                raise _Ended(
                    TIME_LIMIT, f"was ended after {spent:.1f} s; the time limit is {self.limits.time:g} s", ready, spent
                )
            wait = LOOK if patience is None else min(LOOK, max(0.0, patience - spent) + 1e-3)
            if select.select([descriptor], [], [], wait)[0]:
                data = os.read(descriptor, 1 << 20)
                if not data:
                    raise self._death(process, ready, spent)
                self._frames.feed(data)
                continue
            if self.parent is not None and os.getppid() != self.parent:
                self.end()
                os._exit(1)  # the parent is gone, and with it the use of the answer
            if self.limits.memory is not None and (taken := resident(process.pid)) > self.limits.memory:
                process.kill()
                raise _Ended(
                    MEMORY_LIMIT,
                    f"was ended at {taken / 1e6:.0f} MB; the memory limit is {self.limits.memory / 1e6:.0f} MB",
                    ready,
                    spent,
                )
        return message

    def _death(self, process: subprocess.Popen[bytes], ready: bool, spent: float) -> _Ended:
        code = process.wait()
        words = self._last_words()
        if self.limits.memory is not None and ("bad_alloc" in words or "MemoryError" in words):
            return _Ended(
                MEMORY_LIMIT, f"memory ran out; the memory limit is {self.limits.memory / 1e6:.0f} MB", ready, spent
            )
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        text = f"the solver process ended {how}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
        return _Ended(None, text + (f": {words}" if words else ""), ready, spent)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed by end)
            self._frames, self._prepared = Frames(), set()
            self._process = subprocess.Popen(
                # -P keeps the current folder off the path: a user's random.py there must not be imported.
                [sys.executable, "-P", "-m", "cbs_opt.batch.child", str(self.limits.memory or 0)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                bufsize=0,
                env={**os.environ, **ONE_THREAD},
            )
        return self._process

    def _last_words(self) -> str:
        """The last line that the process wrote to stderr."""
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - 2000))
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")

    def end(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._said):
                if stream is not None:
                    stream.close()
            self._process = self._ahead = None


def _send(process: subprocess.Popen[bytes], message: bytes) -> None:
    """Write all of ``message``, however little the pipe takes at a time."""
    assert process.stdin is not None
    rest = memoryview(message)
    while rest:
        rest = rest[process.stdin.write(rest) :]


def resident(process: int) -> int:
    """The resident memory of a process in bytes; 0 where it cannot be read, which is so outside Linux."""
    try:
        with open(f"/proc/{process}/statm", "rb") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class Pool:
    """The idle solver processes of this worker: one for each of its threads, of which there is usually one."""

    def __init__(self) -> None:
        self._idle: list[SolverProcess] = []
        self._lock = threading.Lock()

    def take(self, limits: Limits, parent: int | None) -> SolverProcess:
        """A solver process with these limits, for one thread, which gives it back by ``give``."""
        with self._lock:
            for solver in self._idle:
                if (solver.limits, solver.parent) == (limits, parent):
                    self._idle.remove(solver)
                    return solver
        return SolverProcess(limits, parent)

    def give(self, solver: SolverProcess) -> None:
        """Keep a solver process for the next group."""
        with self._lock:
            self._idle.append(solver)

    def clear(self) -> None:
        """End all idle processes."""
        with self._lock:
            while self._idle:
                self._idle.pop().end()
