"""The loop of a batch: it hands out tasks and takes answers until no task is left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from cbs_opt.batch.backends import Backend, WorkersDied
from cbs_opt.batch.solver_process import Answer, Limits
from cbs_opt.batch.task_queue import TaskQueue, Tasks
from cbs_opt.batch.worker import Returned, work
from cbs_opt.kernel.interrupts import quiet_cancellation

Take = Callable[[tuple[Answer, ...], dict[str, str]], None]
"""A function that is called with answers and the environment that they were computed in."""


class Loop:
    """Has all tasks solved by the workers of a backend.

    Parameters
    ----------
    tasks : Tasks
        The tasks to be solved.
    backend : Backend
        The workers.
    limits : Limits
        The limits of one task.
    take : callable
        Called with the answers as they arrive, with each once.
    say : callable
        Called with a sentence when workers have died.
    """

    def __init__(self, tasks: Tasks, backend: Backend, limits: Limits, take: Take, say: Callable[[str], None]) -> None:
        self.queue = TaskQueue(tasks, backend.jobs)
        self._tasks, self._backend, self._limits, self._take, self._say = tasks, backend, limits, take, say

    def go(self) -> None:
        """Solve tasks until none is left."""
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
        """Solve the tasks that were handed out at two deaths of workers, one by one in this process.

        If one of them is to blame, no other task is lost by it again.
        """
        while self.queue.alone:
            number = self.queue.alone.pop()
            back = work(0, [self._tasks.message(number)], self._limits, None)
            self._take(back.answers, back.environment)

    def _back(self, back: Returned) -> None:
        self.queue.returned(back)
        self._take(back.answers, back.environment)
