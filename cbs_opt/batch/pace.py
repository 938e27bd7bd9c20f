"""Estimates of how long tasks take: guessed at first, then learned from those that are done."""

from __future__ import annotations

from collections import Counter

from cbs_opt.kernel.method import MethodSpec

TARGET = 0.3
"""Seconds of work in a group of tasks: far more than handing it to a worker takes, and little to lose if it dies."""
LARGEST_GROUP = 256
"""The largest number of tasks in a group."""
UNKNOWN = 0.15
"""Seconds assumed for a task of a kind that was never measured, so that the first groups are small."""
MEMORY = 50
"""The number of tasks after which an old measurement counts for little."""


def guess(spec: MethodSpec, n: int) -> float:
    """A rough guess of the seconds for ``n`` weights; it only decides the order of the tasks."""
    if spec.exact:
        return float(2e-3 * (1 + (n / 32) ** 3 * 2 ** min(n / 64, 20)))
    return 1e-4 + 1e-6 * n * n


class Pace:
    """Learns the seconds per task for each kind of task.

    Tasks are of one kind if they have the same method and pattern and sizes with equally many binary digits.
    """

    def __init__(self) -> None:
        self._mean: dict[tuple[int, int], float] = {}
        self._seen: Counter[tuple[int, int]] = Counter()
        self._left: Counter[tuple[int, int]] = Counter()

    @staticmethod
    def kind(combination: int, n: int) -> tuple[int, int]:
        """The kind of a task: the number of its combination of method and pattern, and of binary digits of n."""
        return combination, n.bit_length()

    def expect(self, kind: tuple[int, int], tasks: int) -> None:
        """Note that so many ``tasks`` of this kind are to be done."""
        self._left[kind] += tasks

    def learn(self, kind: tuple[int, int], seconds: float) -> None:
        """Note that a task of this kind took ``seconds``."""
        self._left[kind] -= 1
        self._seen[kind] += 1
        share = 1 / min(self._seen[kind], MEMORY)
        self._mean[kind] = (1 - share) * self._mean.get(kind, 0.0) + share * seconds

    def of(self, kind: tuple[int, int]) -> float:
        """Seconds that a task of this kind is expected to take."""
        return self._mean.get(kind, UNKNOWN)

    def remaining(self, jobs: int) -> float | None:
        """Seconds until ``jobs`` workers have done the rest; None while the kinds of most tasks were never measured."""
        total = sum(self._left.values())
        known = sum(count for kind, count in self._left.items() if kind in self._mean)
        if 2 * known < total:
            return None
        return sum(count * self.of(kind) for kind, count in self._left.items()) / jobs * (total / known if known else 1)
