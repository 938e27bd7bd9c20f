"""The tasks on their way: waiting, handed out in groups, back."""

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
    """Numbered tasks that are to be done; what they are is worked out when they are handed out."""

    @property
    def pending(self) -> np.ndarray[Any, Any]:
        """Their numbers, in the order in which they are handed out."""

    def kind(self, number: int) -> tuple[int, int]:
        """What tasks that take about as long have in common."""

    def message(self, number: int) -> dict[str, Any]:
        """A task as the solver process gets it."""


class TaskQueue:
    """Hands out groups of about ``TARGET`` seconds of work; knows what is out, and what was out when workers died.

    Groups are asked for by joblib's threads, so a lock holds this together.
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
        """Whether anything waits."""
        return self._next < len(self._plan.pending) or bool(self._back)

    def groups(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """(number, tasks) while there are any; what comes back undone waits for the next call."""
        while True:
            with self._lock:
                numbers = self._take()
                if not numbers:
                    return
                self._group += 1
                self._out[self._group] = numbers
            yield self._group, [self._plan.message(number) for number in numbers]

    def returned(self, back: Returned) -> None:
        """A group is back; tasks of it that were not begun wait again."""
        with self._lock:
            numbers = self._out.pop(back.group)
            left = numbers[len(back.answers) :]
            if left:
                self._back.append(left)
            for number in numbers[: len(back.answers)]:
                self._deaths.pop(number, None)
                self.pace.learn(self._plan.kind(number), back.seconds / len(back.answers))

    def workers_died(self) -> int:
        """Whatever is out waits again, one task a group; what was out at two deaths waits in ``alone``."""
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
