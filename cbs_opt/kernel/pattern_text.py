"""Patterns as text, one small grammar for the command line, study files and stores.

    pattern  =  term { "&" term }                what all terms allow at once
    term     =  N ":" M                          at most N of every M consecutive weights of a row stay
             |  "quota-per-row" share            at least this share of every row is pruned
             |  "sparsity" share                 at least this share of all weights is pruned
             |  "rows" share                     whole rows (neurons, filters), at least this share of them
             |  "columns" share                  whole input columns, at least this share of them
             |  "blocks-of-" C share             whole blocks of C consecutive weights of a row, at least this share

A share is a number in [0, 1]. Rows are those of the block's curvature; a block without rows is one row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cbs_opt.errors import InputError, PatternError
from cbs_opt.kernel.patterns import Cardinality, Groups, Pattern, Quotas, intersect, prune_count

WHOLE = r"\d{1,18}"
"""The form of a whole number, of few enough digits for a 64-bit integer."""

HELP = (
    "give N:M, as 2:4 for 2 kept of every 4 consecutive weights, with N ≤ M and M ≥ 1, or a word and a share, as 'rows "
    "0.25', 'columns 0.5', 'blocks-of-4 0.5', 'quota-per-row 0.5', 'sparsity 0.5', or several with & between them"
)

LARGEST_SAMPLE = 1_000_000
"""Most weights of the made-up row on which a combination of terms is tried before there is a block."""


@dataclass(frozen=True)
class Term:
    """One term of a pattern's text: one condition on a block of any size.

    Parameters
    ----------
    text : str
        The term as a store writes it.
    kind : type
        The class of the pattern that the term becomes on its own.
    make : callable
        ``make(rows, row) -> Pattern`` for a block of ``rows`` rows of ``row`` weights.
    of : int
        The number of consecutive weights of a row in one group; it has to divide ``row``. 1 without such groups.
    n_of_m : (int, int), optional
        N and M of a term N:M.
    share : float, optional
        The share of any other term.
    across : bool
        Whether the term concerns all rows of a layer at once, so that it has no meaning for some of them.
    whole_rows : bool
        Whether the term concerns whole rows, so that it has no meaning for a part of a row.
    """

    text: str
    kind: type[Pattern]
    make: Callable[[int, int], Pattern]
    of: int = 1
    n_of_m: tuple[int, int] | None = None
    share: float | None = None
    across: bool = False
    whole_rows: bool = False

    @property
    def groups(self) -> str:
        """The groups of the term in words, for messages."""
        return f"groups of {self.of}" if self.of > 1 else "rows and columns"


def terms_of(text: str) -> tuple[Term, ...]:
    """The terms of a pattern's text, each once, in the order of the grammar.

    Raises
    ------
    InputError
        A part of the text is no term, or its share lies outside [0, 1].
    """
    terms = [_term(part, text) for part in text.split("&")]
    order = list(READERS)
    place = {term.text: min(i for i, form in enumerate(order) if re.fullmatch(form, term.text)) for term in terms}
    unique = {term.text: term for term in terms}
    return tuple(sorted(unique.values(), key=lambda term: (place[term.text], term.text)))


def pattern_of(terms: tuple[Term, ...], rows: int, row: int) -> Pattern:
    """The pattern that the terms mean for a block of ``rows`` rows of ``row`` weights: what all of them allow at once.

    Raises
    ------
    PatternError
        The size of a group does not divide a row, whole rows are to be pruned of a block that is one row, or no mask
        satisfies all terms.
    """
    patterns = [term.make(rows, row) for term in terms]
    return patterns[0] if len(patterns) == 1 else intersect(*patterns)


def class_of(terms: tuple[Term, ...]) -> type[Pattern]:
    """The class of the pattern that ``pattern_of`` makes; for several terms, found by trying them on a small block."""
    if len(terms) == 1:
        return terms[0].kind
    row = 2 * math.lcm(*(term.of for term in terms))
    if row > LARGEST_SAMPLE:
        raise InputError(
            f"pattern: no row of up to {LARGEST_SAMPLE} weights has groups of all these sizes; use smaller"
        )
    return type(pattern_of(terms, 4, row))


def _term(part: str, text: str) -> Term:
    words = " ".join(part.split())
    for form, reader in READERS.items():
        found = re.fullmatch(form, words)
        if found:
            return reader(found)
    raise InputError(f"pattern: is {text!r:.60}; {HELP}")


def _share(found: re.Match[str]) -> tuple[str, float]:
    """The share in the last word, as a store writes it and as a number."""
    try:
        share = float(found[found.re.groups])
        prune_count(1, share)
    except ValueError:
        raise InputError(f"pattern: {found[0]!r:.60} has no share between 0 and 1 at its end; {HELP}") from None
    return repr(share), share


def _n_of_m(found: re.Match[str]) -> Term:
    keep, of = int(found[1]), int(found[2])
    if not 1 <= of >= keep:
        raise InputError(f"pattern: is {found[0]!r:.60}; {HELP}")

    def make(rows: int, row: int) -> Pattern:
        return Quotas.n_of_m(rows * row, keep, of, row=row)

    return Term(f"{keep}:{of}", Quotas, make, of, n_of_m=(keep, of))


def _quota_per_row(found: re.Match[str]) -> Term:
    said, share = _share(found)
    return Term(
        f"quota-per-row {said}",
        Quotas,
        lambda rows, row: Quotas(np.full(rows, row), prune_count(row, share)),
        share=share,
        whole_rows=True,
    )


def _sparsity(found: re.Match[str]) -> Term:
    said, share = _share(found)
    return Term(
        f"sparsity {said}", Cardinality, lambda rows, row: Cardinality.from_sparsity(rows * row, share), share=share
    )


def _rows(found: re.Match[str]) -> Term:
    said, share = _share(found)

    def make(rows: int, row: int) -> Pattern:
        if rows == 1:
            raise PatternError(f"pattern rows {said}: the block is one row; whole rows are pruned of several")
        return Groups.of_rows(rows, row, share)

    return Term(f"rows {said}", Groups, make, share=share, across=True)


def _columns(found: re.Match[str]) -> Term:
    said, share = _share(found)
    return Term(
        f"columns {said}", Groups, lambda rows, row: Groups.of_columns(rows, row, share), share=share, across=True
    )


def _blocks(found: re.Match[str]) -> Term:
    said, share = _share(found)
    of = int(found[1])
    if of < 1:
        raise InputError(f"pattern: is {found[0]!r:.60}; {HELP}")

    def make(rows: int, row: int) -> Pattern:
        if row % of:
            raise PatternError(f"blocks of {of}: {of} does not divide the {row} weights of a row; choose another")
        return Groups.of_blocks(rows * row, of, share, row=row)

    return Term(f"blocks-of-{of} {said}", Groups, make, of, share=share)


READERS: dict[str, Callable[[re.Match[str]], Term]] = {
    rf"({WHOLE}) ?: ?({WHOLE})": _n_of_m,
    r"quota-per-row (\S+)": _quota_per_row,
    r"sparsity (\S+)": _sparsity,
    r"rows (\S+)": _rows,
    r"columns (\S+)": _columns,
    rf"blocks-of-({WHOLE}) (\S+)": _blocks,
}
"""The text of each kind of term, as a regular expression, and the function that makes the term of a match."""
