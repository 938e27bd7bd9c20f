"""How long tasks take: guessed at first, then learned from those that are done."""

from __future__ import annotations

from collections import Counter

from cbs_opt.kernel.method import MethodSpec

TARGET = 0.3
"""Seconds of work that are handed to a worker at once: far more than handing them over costs, and soon lost."""
LARGEST_GROUP = 256
UNKNOWN = 0.15
"""Seconds assumed of a task of a kind that was never seen, so that the first groups are small."""
MEMORY = 50
"""Tasks after which an old measurement counts for little."""


def guess(spec: MethodSpec, n: int) -> float:
    """Seconds for ``n`` weights, roughly: it only says which tasks come first."""
    if spec.exact:
        return float(2e-3 * (1 + (n / 32) ** 3 * 2 ** min(n / 64, 20)))
    return 1e-4 + 1e-6 * n * n


class Pace:
    """Seconds per task by kind: method and size, sizes within a factor of two taken together."""

    def __init__(self) -> None:
        self._mean: dict[tuple[int, int], float] = {}
        self._seen: Counter[tuple[int, int]] = Counter()
        self._left: Counter[tuple[int, int]] = Counter()

    @staticmethod
    def kind(combination: int, n: int) -> tuple[int, int]:
        """The kind of a task: the number of its method and pattern, and how many binary digits n has."""
        return combination, n.bit_length()

    def expect(self, kind: tuple[int, int], tasks: int) -> None:
        """So many tasks of this kind are to be done."""
        self._left[kind] += tasks

    def learn(self, kind: tuple[int, int], seconds: float) -> None:
        """A task of this kind took so long."""
        self._left[kind] -= 1
        self._seen[kind] += 1
        share = 1 / min(self._seen[kind], MEMORY)
        self._mean[kind] = (1 - share) * self._mean.get(kind, 0.0) + share * seconds

    def of(self, kind: tuple[int, int]) -> float:
        """Seconds that a task of this kind is expected to take."""
        return self._mean.get(kind, UNKNOWN)

    def remaining(self, jobs: int) -> float | None:
        """Seconds of work left for ``jobs`` workers; None while nothing is known about most of it."""
        total = sum(self._left.values())
        known = sum(count for kind, count in self._left.items() if kind in self._mean)
        if 2 * known < total:
            return None
        return sum(count * self.of(kind) for kind, count in self._left.items()) / jobs * (total / known if known else 1)
