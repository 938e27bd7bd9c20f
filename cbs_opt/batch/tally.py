"""Counts of the results of tasks, by method and pattern."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cbs_opt.kernel.method import MethodSpec


@dataclass
class Line:
    """The counts of one method at one pattern.

    ``worst`` is the largest gap of the method's own answers if it is exact, and None if no gap is known.
    """

    method: str
    asked: str
    exact: bool
    done: int = 0
    proven: int = 0
    failed: int = 0
    worst: float | None = None


@dataclass
class Tally:
    """Counts of results by method and pattern, and of failures by reason."""

    lines: dict[tuple[str, str], Line] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(
        self, spec: MethodSpec, asked: str, done: bool, proven: bool, gap: float | None, reason: str | None
    ) -> None:
        """Count one result."""
        line = self.lines.setdefault((spec.name, asked), Line(spec.name, asked, spec.exact))
        if not done:
            line.failed += 1
            self.reasons[reason or "error"] += 1
            return
        line.done += 1
        line.proven += proven
        if spec.exact and gap is not None:
            line.worst = gap if line.worst is None else max(line.worst, gap)

    def sums(self) -> tuple[int, int, int, int]:
        """The numbers of answers, of proven ones among them, of unproven ones of exact methods, and of failures."""
        lines = self.lines.values()
        done, proven, failed = (sum(getattr(line, name) for line in lines) for name in ("done", "proven", "failed"))
        return done, proven, sum(line.done - line.proven for line in lines if line.exact), failed

    def to_dict(self) -> list[dict[str, Any]]:
        """The counts of each line as plain data."""
        return [dict(line.__dict__) for line in self.lines.values()]
