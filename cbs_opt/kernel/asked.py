"""What is asked of a block: how many weights, or which of them, have to go."""

from __future__ import annotations

from dataclasses import dataclass

from cbs_opt.errors import InputError
from cbs_opt.kernel.curvature import RowsCurvature
from cbs_opt.kernel.patterns import Cardinality, Pattern, Quotas, prune_count
from cbs_opt.kernel.problem import PruningProblem

KINDS = ("sparsity", "prune", "pattern")


@dataclass(frozen=True)
class Asked:
    """One pattern for blocks of any size. ``str`` of it is the word of the store: 'sparsity 0.8'.

    Parameters
    ----------
    kind : str
        'sparsity' (at least this share is pruned), 'prune' (at least so many) or 'pattern' (N:M).
    value : str
        As the user would write it.

    Raises
    ------
    InputError
        A value that cannot be.
    """

    kind: str
    value: str

    def __post_init__(self) -> None:
        if self.kind == "sparsity":
            try:
                share = float(self.value)
            except ValueError:
                raise InputError(f"sparsity: is {self.value!r}; a number between 0 and 1 is needed") from None
            prune_count(1, share)
            object.__setattr__(self, "value", repr(share))
        elif self.kind == "prune":
            if not str(self.value).isdecimal():
                raise InputError(f"prune: is {self.value!r}; a whole number of weights, 0 or more, is needed")
            object.__setattr__(self, "value", str(int(self.value)))
        else:
            keep, of = self._two_numbers()
            object.__setattr__(self, "value", f"{keep}:{of}")

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"

    @classmethod
    def parse(cls, text: str) -> Asked:
        """The inverse of ``str``."""
        kind, _, value = text.partition(" ")
        return cls(kind, value)

    @property
    def pattern_class(self) -> type[Pattern]:
        """The kind of pattern it becomes."""
        return Quotas if self.kind == "pattern" else Cardinality

    def of(self, problem: PruningProblem) -> PruningProblem:
        """The problem with this pattern; groups of N:M do not reach across the rows of a layer."""
        if self.kind == "sparsity":
            return problem.at_sparsity(float(self.value))
        if self.kind == "prune":
            return problem.pruning(int(self.value))
        curvature = problem.curvature
        row = problem.n // curvature.rows if isinstance(curvature, RowsCurvature) else None
        return problem.within(Quotas.n_of_m(problem.n, *self._two_numbers(), row=row))

    def _two_numbers(self) -> tuple[int, int]:
        first, _, second = self.value.partition(":")
        if not (first.strip().isdecimal() and second.strip().isdecimal() and 1 <= int(second) >= int(first)):
            raise InputError(
                f"pattern: is {self.value!r}; give N:M with N ≤ M, as 2:4 for 2 kept of every 4 consecutive weights"
            )
        return int(first), int(second)
