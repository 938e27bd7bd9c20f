"""Threads that search one tree together, in rounds.

In a round each thread takes ``HAND`` open nodes and searches their subtrees for ``ROUND`` nodes as if it were alone;
then all wait for the last. The result depends on how many threads there are, but not on which of them is faster. The
compiled kernels run without Python's global lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

ROUND = 32
"""Nodes that a thread searches in a round: so many that on average none waits long for the others."""
HAND = 4
"""Open nodes that a thread takes in a round: several, since the subtree of one may be finished early."""

Member = TypeVar("Member")
Work = Callable[[Member, threading.Event], object]


class Team:
    """``threads`` threads that work in rounds."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._stop = threading.Event()
        self._working: list[Future[object]] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cbs-opt")

    def round(self, work: Work[Member], members: list[Member]) -> None:
        """Call ``work(member, stop)`` for all members at once, and wait for the last; ``stop`` asks to end early."""
        self._working.clear()
        for member in members:
            self._working.append(self._pool.submit(work, member, self._stop))
        for done in self._working:
            done.result()

    def rest(self) -> None:
        """Make sure that no thread is at work: where a round was broken off, each finishes at most one more node."""
        if any(not one.done() for one in self._working):
            self._stop.set()
            wait(self._working)

    def leave(self) -> None:
        """End the threads."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def team(threads: int) -> Iterator[Team | None]:
    """A context with a team of several threads; None for a single thread, which needs no team."""
    if threads == 1:
        yield None
        return
    several = Team(threads)
    try:
        yield several
    finally:
        several.leave()
