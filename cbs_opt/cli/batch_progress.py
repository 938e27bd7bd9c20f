"""What a batch says on stderr while it runs: one live line on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cbs_opt.batch.backends import Backend
from cbs_opt.batch.runner import BatchResult, Watcher

if TYPE_CHECKING:
    from rich.progress import Progress

RECENT = 30.0
"""Seconds over which the rate is measured."""
SOONEST, SELDOM = 5.0, 60.0
"""Seconds between two plain lines: the pause begins with the first and doubles up to the second."""


@contextmanager
def shown() -> Iterator[Watcher]:
    """A watcher that shows the batch on stderr."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar)


class _Rate:
    """How many tasks were solved per second over the last ``RECENT`` seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def at(self, solved: int) -> float:
        now = time.monotonic()
        self._points.append((now, solved))
        while len(self._points) > 2 and now - self._points[0][0] > RECENT:
            self._points.popleft()
        before, span = self._points[0][1], now - self._points[0][0]
        return (solved - before) / span if span > 0 else 0.0


def words(result: BatchResult, rate: float, remaining: float | None) -> str:
    """'312/s, 25 s left, 9000 proven, 12 with a gap, 1 failed'; proven and with a gap are answers of exact methods."""
    done, proven, unproven, failed = result.tally.sums()
    parts = [f"{rate:.3g}/s", f"{duration(remaining)} left" if remaining is not None else "time left unknown"]
    parts += [f"{proven} proven"] if proven or unproven else [f"{done} answers"]
    parts += [f"{unproven} with a gap"] if unproven else []
    return ", ".join([*parts, f"{failed} failed"])


def duration(seconds: float) -> str:
    """A time in words: '45 s', '12 min', '3.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def opening(result: BatchResult, backend: Backend) -> str:
    """The first line: how many tasks are left, where they run, and how many were done before."""
    before = f"; {result.before} of {result.asked} were done before" if result.before else ""
    return f"{result.left} tasks with {backend.name}{before}"


class _Lines:
    """A watcher that prints plain lines."""

    def __init__(self) -> None:
        self._rate, self._next, self._pause = _Rate(), 0.0, SOONEST

    def begin(self, result: BatchResult, backend: Backend) -> None:
        _print(opening(result, backend))
        self._rate.at(0)
        self._next = time.monotonic() + self._pause

    def advance(self, result: BatchResult, remaining: float | None) -> None:
        rate, now = self._rate.at(result.solved), time.monotonic()
        if now >= self._next:
            self._pause = min(SELDOM, 2 * self._pause)
            self._next = now + self._pause
            total = result.asked - result.before
            _print(f"{result.solved} of {total} tasks: {words(result, rate, remaining)}")

    def notice(self, text: str) -> None:
        _print(f"note: {text}")


class _Bar:
    """A watcher that keeps one live line with a bar."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._rate = bar, _Rate()
        self._task: Any = None

    def begin(self, result: BatchResult, backend: Backend) -> None:
        self._bar.console.print(opening(result, backend), markup=False, highlight=False)
        self._task = self._bar.add_task("batch", total=result.asked - result.before, words="starting")
        self._rate.at(0)

    def advance(self, result: BatchResult, remaining: float | None) -> None:
        text = words(result, self._rate.at(result.solved), remaining)
        self._bar.update(self._task, completed=result.solved, words=text)

    def notice(self, text: str) -> None:
        self._bar.console.print(f"note: {text}", markup=False, highlight=False)


def _print(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
