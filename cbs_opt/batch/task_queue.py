"""The queue of a batch's tasks: they wait, are handed out in groups, and come back."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from math import ceil
from typing import Any, Protocol

import numpy as np

from cbs_opt.batch.pace import LARGEST_GROUP, TARGET, Pace
from cbs_opt.batch.worker import Returned


class Tasks(Protocol):
    """The interface of numbered tasks, whose messages are made when they are handed out."""

    @property
    def pending(self) -> np.ndarray[Any, Any]:
        """The numbers of the tasks to be done, in the order in which they are handed out."""

    def kind(self, number: int) -> tuple[int, int]:
        """The kind of a task; tasks of one kind are expected to take equally long."""

    def message(self, number: int) -> dict[str, Any]:
        """The message for a task that the solver process gets."""


class TaskQueue:
    """Hands out groups of about ``TARGET`` seconds of work, and remembers which tasks were out when workers died.

    Threads of joblib ask for groups, so that a lock protects the state.
    """

    def __init__(self, plan: Tasks, jobs: int) -> None:
        self.pace = Pace()
        self.alone: list[int] = []
        self._plan, self._jobs = plan, jobs
        self._next, self._group = 0, 0
        self._back: deque[list[int]] = deque()
        self._out: dict[int, list[int]] = {}
        self._deaths: Counter[int] = Counter()
        self._lock = threading.Lock()
        for number in plan.pending:
            self.pace.expect(plan.kind(int(number)), 1)

    def __bool__(self) -> bool:
        """Whether any task waits to be handed out."""
        return self._next < len(self._plan.pending) or bool(self._back)

    def groups(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Groups as (number, tasks) while tasks wait; those that come back undone may wait for the next call."""
        while True:
            with self._lock:
                numbers = self._take()
                if not numbers:
                    return
                self._group += 1
                self._out[self._group] = numbers
            yield self._group, [self._plan.message(number) for number in numbers]

    def returned(self, back: Returned) -> None:
        """Note that a group is back; those of its tasks that were not begun wait again."""
        with self._lock:
            numbers = self._out.pop(back.group)
            left = numbers[len(back.answers) :]
            if left:
                self._back.append(left)
            for number in numbers[: len(back.answers)]:
                self._deaths.pop(number, None)
                self.pace.learn(self._plan.kind(number), back.seconds / len(back.answers))

    def workers_died(self) -> int:
        """Let all tasks that are out wait again, and return their number.

        Each becomes a group of its own; one that was out at two deaths of workers goes to ``alone`` instead.
        """
        with self._lock:
            lost = [number for numbers in self._out.values() for number in numbers]
            self._out.clear()
            for number in lost:
                self._deaths[number] += 1
                if self._deaths[number] == 2:
                    self.alone.append(number)
                else:
                    self._back.append([number])
            return len(lost)

    def _take(self) -> list[int]:
        if self._back:
            return self._back.popleft()
        pending = self._plan.pending
        most = max(1, min(LARGEST_GROUP, ceil((len(pending) - self._next) / (2 * self._jobs))))
        numbers: list[int] = []
        seconds = 0.0
        while self._next < len(pending) and len(numbers) < most and seconds < TARGET:
            number = int(pending[self._next])
            numbers.append(number)
            seconds += self.pace.of(self._plan.kind(number))
            self._next += 1
        return numbers
