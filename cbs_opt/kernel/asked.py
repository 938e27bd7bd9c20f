"""What is asked of a block: how many weights, or which of them, have to go.

The one reader of a sparsity, a number of weights and N:M, whoever asks: a command, a study file, a store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cbs_opt.errors import InputError
from cbs_opt.kernel.patterns import Cardinality, Pattern, Quotas, prune_count
from cbs_opt.kernel.problem import PruningProblem

KINDS = ("sparsity", "prune", "pattern")

_WHOLE = r"\d{1,18}"
"""A whole number that no integer type is too small for."""


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
            if not re.fullmatch(rf"\s*{_WHOLE}\s*", self.value):
                raise InputError(f"prune: is {self.value!r:.40}; a whole number of weights, 0 or more, is needed")
            object.__setattr__(self, "value", str(int(self.value)))
        elif self.kind == "pattern":
            keep, of = self.n_of_m
            object.__setattr__(self, "value", f"{keep}:{of}")
        else:
            raise InputError(f"{self.kind!r}: nothing to ask of a block; ask {', '.join(KINDS)}")

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"

    @classmethod
    def parse(cls, text: str) -> Asked:
        """The inverse of ``str``."""
        kind, _, value = text.partition(" ")
        return cls(kind, value)

    @classmethod
    def of_options(cls, sparsity: float | None, prune: int | None, pattern: str | None = None) -> Asked:
        """What one command asks of a block; raises unless exactly one of the three is given."""
        given = {"sparsity": sparsity, "prune": prune, "pattern": pattern}
        asked = [cls(kind, str(value)) for kind, value in given.items() if value is not None]
        if len(asked) != 1:
            raise InputError("give exactly one of --sparsity R, --prune K and --pattern N:M")
        return asked[0]

    @property
    def pattern_class(self) -> type[Pattern]:
        """The kind of pattern it becomes."""
        return Quotas if self.kind == "pattern" else Cardinality

    def of(self, problem: PruningProblem) -> PruningProblem:
        """The problem with this pattern.

        Groups of N:M are M consecutive weights of one row (along the input dimension): the rows are those of the
        curvature, and a block without rows is one row.

        Raises
        ------
        PatternError
            More weights to prune than there are, or a row that M does not divide.
        """
        if self.kind == "sparsity":
            return problem.at_sparsity(float(self.value))
        if self.kind == "prune":
            return problem.pruning(int(self.value))
        row = problem.n // problem.curvature.rows
        return problem.within(Quotas.n_of_m(problem.n, *self.n_of_m, row=row))

    @property
    def group(self) -> int | None:
        """M of N:M, the weights of a group; None for the other kinds."""
        return self.n_of_m[1] if self.kind == "pattern" else None

    @property
    def n_of_m(self) -> tuple[int, int]:
        """N and M of the kind 'pattern'."""
        found = re.fullmatch(rf"\s*({_WHOLE})\s*:\s*({_WHOLE})\s*", self.value)
        if not found or not 1 <= int(found[2]) >= int(found[1]):
            raise InputError(
                f"pattern: is {self.value!r:.40}; give N:M, as 2:4 for 2 kept of every 4 consecutive weights, with "
                "N ≤ M and M ≥ 1"
            )
        return int(found[1]), int(found[2])
