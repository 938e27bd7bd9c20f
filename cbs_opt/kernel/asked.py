"""What is asked of a block: how many weights, or which of them, have to go.

The one reader of a sparsity, a number of weights and a pattern, whoever asks: a command, a study file, a store. The
grammar of patterns is in ``pattern_text``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cbs_opt.errors import InputError
from cbs_opt.kernel.pattern_text import WHOLE, Term, class_of, pattern_of, terms_of
from cbs_opt.kernel.patterns import Cardinality, Pattern, prune_count
from cbs_opt.kernel.problem import PruningProblem

KINDS = ("sparsity", "prune", "pattern")


@dataclass(frozen=True)
class Asked:
    """One pattern for blocks of any size. ``str`` of it is the word of the store: 'sparsity 0.8'.

    Parameters
    ----------
    kind : str
        'sparsity' (at least this share is pruned), 'prune' (at least so many) or 'pattern' (see ``pattern_text``; the
        pattern 'sparsity 0.8' is of the kind 'sparsity').
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
            if not re.fullmatch(rf"\s*{WHOLE}\s*", self.value):
                raise InputError(f"prune: is {self.value!r:.40}; a whole number of weights, 0 or more, is needed")
            object.__setattr__(self, "value", str(int(self.value)))
        elif self.kind == "pattern":
            terms = terms_of(self.value)
            if len(terms) == 1 and terms[0].kind is Cardinality:
                object.__setattr__(self, "kind", "sparsity")
                object.__setattr__(self, "value", repr(terms[0].share))
            else:
                class_of(terms)
                object.__setattr__(self, "value", " & ".join(term.text for term in terms))
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
        """What one command asks of a block.

        Parameters
        ----------
        sparsity : float or None
            The least share of the weights that is pruned.
        prune : int or None
            The least number of weights that is pruned.
        pattern : str or None
            A pattern as text, as '2:4'.

        Raises
        ------
        InputError
            Unless exactly one of the three is given.
        """
        given = {"sparsity": sparsity, "prune": prune, "pattern": pattern}
        asked = [cls(kind, str(value)) for kind, value in given.items() if value is not None]
        if len(asked) != 1:
            raise InputError("give exactly one of --sparsity R, --prune K and --pattern P")
        return asked[0]

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of the kind 'pattern'; none for the other kinds."""
        return terms_of(self.value) if self.kind == "pattern" else ()

    @property
    def pattern_class(self) -> type[Pattern]:
        """The kind of pattern it becomes."""
        return class_of(self.terms) if self.kind == "pattern" else Cardinality

    def of(self, problem: PruningProblem) -> PruningProblem:
        """The problem with this pattern.

        Rows are those of the curvature, and a block without rows is one row.

        Raises
        ------
        PatternError
            More weights to prune than there are, a row that the size of a group does not divide, or no mask at all.
        """
        if self.kind == "sparsity":
            return problem.at_sparsity(float(self.value))
        if self.kind == "prune":
            return problem.pruning(int(self.value))
        rows = problem.curvature.rows
        return problem.within(pattern_of(self.terms, rows, problem.n // rows))

    @property
    def n_of_m(self) -> tuple[int, int]:
        """N and M, where that is all that is asked.

        Raises
        ------
        InputError
            Something else is.
        """
        found = self.terms[0].n_of_m if len(self.terms) == 1 else None
        if found is None:
            raise InputError(f"pattern: is {self.value!r:.40}; here N:M can be asked for, as 2:4, and nothing else")
        return found
