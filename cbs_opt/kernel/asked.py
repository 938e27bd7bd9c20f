"""What a user asks of a block: which share of its weights, or how many, are pruned, or in what pattern.

Commands, study files and stores all read a sparsity, a number of weights or a pattern by this module. The grammar of
patterns is in ``pattern_text``.
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
    """One request for blocks of any size: a sparsity, a number of weights, or a pattern.

    ``str`` of it is the text under which a store keeps it, as 'sparsity 0.8'.

    Parameters
    ----------
    kind : str
        'sparsity' (at least this share of the weights is pruned), 'prune' (at least this number of weights is pruned)
        or 'pattern' (the grammar is in ``cbs_opt.kernel.pattern_text``). The pattern 'sparsity 0.8' becomes one of the
        kind 'sparsity'.
    value : str
        The share, the number or the pattern, as a user writes it: '0.8', '100' or '2:4'.

    Raises
    ------
    InputError
        The kind is none of the three, or the value is none of its kind.
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
        """What ``str`` has turned into ``text``: the inverse of ``str``."""
        kind, _, value = text.partition(" ")
        return cls(kind, value)

    @classmethod
    def of_options(cls, sparsity: float | None, prune: int | None, pattern: str | None = None) -> Asked:
        """The request in the three options of a command, of which exactly one is given.

        Parameters
        ----------
        sparsity : float or None
            The least share of the weights that is pruned.
        prune : int or None
            The least number of weights that is pruned.
        pattern : str or None
            A pattern as text, for instance '2:4'.

        Raises
        ------
        InputError
            Unless exactly one of the three is given.
        """
        given = {"sparsity": sparsity, "prune": prune, "pattern": pattern}
        asked = [cls(kind, str(value)) for kind, value in given.items() if value is not None]
        if len(asked) != 1:
            none = "; block files hold no pattern" if not asked else ""
            raise InputError(f"give exactly one of --sparsity R, --prune K and --pattern P{none}")
        return asked[0]

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of a request of the kind 'pattern'; none for the other kinds."""
        return terms_of(self.value) if self.kind == "pattern" else ()

    @property
    def pattern_class(self) -> type[Pattern]:
        """The class of the pattern that the request becomes for a block."""
        return class_of(self.terms) if self.kind == "pattern" else Cardinality

    def of(self, problem: PruningProblem) -> PruningProblem:
        """``problem`` with the pattern that this request means for its size.

        The rows of a pattern are those of the problem's curvature; a block that is not stored as rows is one row.

        Raises
        ------
        PatternError
            More weights are to be pruned than there are, the size of a group does not divide a row, or no mask
            satisfies all terms.
        """
        if self.kind == "sparsity":
            return problem.at_sparsity(float(self.value))
        if self.kind == "prune":
            return problem.pruning(int(self.value))
        rows = problem.curvature.rows
        return problem.within(pattern_of(self.terms, rows, problem.n // rows))

    @property
    def n_of_m(self) -> tuple[int, int]:
        """N and M of the pattern N:M.

        Raises
        ------
        InputError
            The request is anything other than one pattern N:M.
        """
        found = self.terms[0].n_of_m if len(self.terms) == 1 else None
        if found is None:
            raise InputError(f"pattern: is {self.value!r:.40}; here N:M can be asked for, as 2:4, and nothing else")
        return found
