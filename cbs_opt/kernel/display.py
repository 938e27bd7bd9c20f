"""How results are shown: in one line, on one screen, in a notebook, and as a pandas table.

A class puts what is to be shown on a ``Card``, as text; this module turns the card into each of the four forms.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from cbs_opt.errors import UnavailableMethodError
from cbs_opt.kernel.words import shown

ROWS_OF_A_SCREEN = 12
ROWS_OF_A_NOTEBOOK = 60
NOTES = 4
"""The number of notes that are shown; the object itself has all of them."""


@dataclass(frozen=True)
class Card:
    """What is shown of an object, as text.

    Parameters
    ----------
    title : str
        One line with the most important facts.
    facts : mapping of name to value
        One line each, below the title.
    headings : tuple of str
        The headings of the table, whose first column is text and whose others are numbers or short words.
    rows : sequence of sequences of str
        The rows of the table, one cell for each heading.
    notes : sequence of str
        What was altered or cut short.
    """

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    headings: tuple[str, ...] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()

    def text(self) -> str:
        """The card for a terminal, at most about one screen of it."""
        width = max(map(len, self.facts), default=0)
        lines = [shown(self.title)]
        lines += [f"  {name:<{width}}  {shown(value)}" for name, value in self.facts.items()]
        if self.rows:
            lines += _columns([self.headings, *self.rows[:ROWS_OF_A_SCREEN]])
            lines += _and_more(len(self.rows) - ROWS_OF_A_SCREEN, "row")
        lines += [f"  note: {shown(note, 300)}" for note in self.notes[:NOTES]]
        return "\n".join([*lines, *_and_more(len(self.notes) - NOTES, "note")])

    def html(self) -> str:
        """The card for a notebook, which brings its own style of tables; every text is escaped."""
        parts = [f"<p><strong>{escape(shown(self.title))}</strong></p>"]
        if self.facts:
            parts.append(_table((), self.facts.items()))
        if self.rows:
            parts.append(_table(self.headings, self.rows[:ROWS_OF_A_NOTEBOOK]))
        more = _and_more(len(self.rows) - ROWS_OF_A_NOTEBOOK, "row")
        notes = [f"note: {shown(note, 300)}" for note in self.notes[:NOTES]]
        notes += _and_more(len(self.notes) - NOTES, "note")
        parts += [f"<p>{escape(line.strip())}</p>" for line in (*more, *notes)]
        return f"<div>{''.join(parts)}</div>"


class Displayed(ABC):
    """A class whose ``str``, ``repr`` and display in notebooks are made of its card."""

    @abstractmethod
    def _card(self) -> Card:
        """What is shown of the object."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {shown(self._card().title)}>"

    def __str__(self) -> str:
        return self._card().text()

    def _repr_html_(self) -> str:
        return self._card().html()


def frame_of(records: Iterable[Mapping[str, Any]]) -> Any:
    """A ``pandas.DataFrame`` with one row for each record; None becomes NaN.

    Raises
    ------
    UnavailableMethodError
        pandas, an optional dependency, is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise UnavailableMethodError(
            "to_frame: needs the package pandas; install it by `pip install pandas`, or use to_dict"
        ) from None
    return pandas.DataFrame([{key: math.nan if v is None else v for key, v in row.items()} for row in records])


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[shown(cell, 48) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join(f"{cell:>{width}}" if i else f"{cell:<{width}}" for i, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]


def _and_more(count: int, what: str) -> list[str]:
    return [f"  … and {count:,} more {what}{'' if count == 1 else 's'}"] if count > 0 else []


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = f"<thead><tr>{''.join(f'<th>{escape(h)}</th>' for h in headings)}</tr></thead>" if headings else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(shown(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"
