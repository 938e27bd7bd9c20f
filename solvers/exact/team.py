"""Threads that search one tree together, in rounds.

In a round each takes ``HAND`` open nodes and searches their subtrees for ``ROUND`` nodes as if it were alone; all wait
for the last. What comes out depends on how many threads there are, never on which of them was faster. The kernels
run without Python's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

ROUND = 32
"""Nodes of a thread between two meetings: on average none then waits long for the others."""
HAND = 4
"""Open nodes that a thread takes: the subtree of one may be done early."""

Member = TypeVar("Member")
Work = Callable[[Member, threading.Event], object]


class Team:
    """``threads`` threads; ``stop`` tells them to leave their round early."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._stop = threading.Event()
        self._working: list[Future[object]] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cbs-opt")

    def round(self, work: Work[Member], members: list[Member]) -> None:
        """``work(member, stop)`` for all members at once; waits for the last."""
        self._working.clear()
        for member in members:
            self._working.append(self._pool.submit(work, member, self._stop))
        for done in self._working:
            done.result()

    def rest(self) -> None:
        """Have nobody at work any more: where a round was broken off, at most one node each from now."""
        if any(not one.done() for one in self._working):
            self._stop.set()
            wait(self._working)

    def leave(self) -> None:
        """Have the threads end."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def team(threads: int) -> Iterator[Team | None]:
    """A team of several threads; None for one, which needs none."""
    if threads == 1:
        yield None
        return
    several = Team(threads)
    try:
        yield several
    finally:
        several.leave()
