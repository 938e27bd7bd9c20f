"""What a run has seen: answers by pattern and method, and every violation with the command that shows it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.exact.patterns.draw import Case
from benchmarks.exact.patterns.judge import ALWAYS, IN_TURN
from benchmarks.stress.judge import Answers

COLUMNS = (*ALWAYS, *IN_TURN, "lower_bound", "certificate", "heuristics")


class Tally:
    """Counts of cases and answers."""

    def __init__(self) -> None:
        self.cases = 0
        self.violations: list[str] = []
        self._answers: Counter[tuple[str, str]] = Counter()
        self._words: Counter[tuple[str, str]] = Counter()

    @property
    def answers(self) -> int:
        """Of all methods together, refusals included."""
        return sum(self._answers.values())

    def add(self, case: Case, found: Answers) -> list[str]:
        """Count a case; return its violations in words."""
        self.cases += 1
        for name, word in found.words.items():
            column = name if name in COLUMNS else "heuristics"
            self._answers[case.pattern, column] += 1
            self._words[column, word] += 1
        said = [f"{case.problem.name}: {what}\n    {command(case.seed)}" for what in found.wrong]
        self.violations += said
        return said

    def summary(self) -> list[str]:
        """A table of answers, a line of words a method, and the violations."""
        patterns = list(dict.fromkeys(pattern for pattern, _ in self._answers))
        columns = [column for column in COLUMNS if any((pattern, column) in self._answers for pattern in patterns)]
        counts = [[str(self._answers[pattern, column]) for column in columns] for pattern in patterns]
        lines = _table(["answers", *columns], [[p, *row] for p, row in zip(patterns, counts, strict=True)])
        lines.append("")
        for column in columns:
            words = {word: count for (name, word), count in self._words.items() if name == column}
            lines.append(f"{column}: " + ", ".join(f"{count:,} {word}" for word, count in sorted(words.items())))
        lines += ["", f"{self.cases:,} cases, {self.answers:,} answers, {len(self.violations)} violations"]
        return lines + self.violations


def command(seed: int) -> str:
    """What shows a case again."""
    return f"python -m benchmarks.stress --cases 1 --seed {seed}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["  ".join(map(_cell, row, widths, range(len(row)))).rstrip() for row in (head, *rows)]


def _cell(text: str, width: int, column: int) -> str:
    return text.rjust(width) if column else text.ljust(width)
