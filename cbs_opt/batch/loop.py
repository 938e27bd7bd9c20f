"""The loop of a batch: hand out, take back, until nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from cbs_opt.batch.backends import Backend, WorkersDied
from cbs_opt.batch.interrupts import quiet_cancellation
from cbs_opt.batch.solver_process import Answer, Limits
from cbs_opt.batch.task_queue import TaskQueue, Tasks
from cbs_opt.batch.worker import Returned, work

Take = Callable[[tuple[Answer, ...], dict[str, str]], None]
"""Called with answers, and what they were computed with."""


class Loop:
    """Has tasks worked on.

    Parameters
    ----------
    tasks : Tasks
    backend : Backend
    limits : Limits
        Of one task.
    take : callable
        Called with answers as they come back, each once.
    say : callable
        Called with a sentence when workers died.
    """

    def __init__(self, tasks: Tasks, backend: Backend, limits: Limits, take: Take, say: Callable[[str], None]) -> None:
        self.queue = TaskQueue(tasks, backend.jobs)
        self._tasks, self._backend, self._limits, self._take, self._say = tasks, backend, limits, take, say

    def go(self) -> None:
        """Work until nothing is left."""
        while self.queue:
            try:
                with quiet_cancellation(), closing(self._backend.run(self.queue.groups(), self._limits)) as returned:
                    for back in returned:
                        self._back(back)
            except WorkersDied:
                lost = self.queue.workers_died()
                self._say(
                    "a worker process died (ended by the system, out of memory?); it had at most "
                    f"{lost} tasks, which are done again"
                )
            self._do_alone()

    def _do_alone(self) -> None:
        """Tasks that were out when workers died, twice: here, one by one, so that nobody else suffers from them."""
        while self.queue.alone:
            number = self.queue.alone.pop()
            back = work(0, [self._tasks.message(number)], self._limits, None)
            self._take(back.answers, back.environment)

    def _back(self, back: Returned) -> None:
        self.queue.returned(back)
        self._take(back.answers, back.environment)
