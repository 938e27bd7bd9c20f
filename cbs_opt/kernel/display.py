"""How results show themselves: in one line, on one screen, in a notebook, and as a table of pandas.

A class says what there is to see of it as a ``Card``, in words; the rest is done here, once for all of them.
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
"""So many notes are shown; all of them are in the object."""


@dataclass(frozen=True)
class Card:
    """What there is to see of an object, in words.

    Parameters
    ----------
    title : str
        One line, which says the most.
    facts : mapping of name to value
    headings : tuple of str
        Of the table: the first column is text, the others are numbers or short words.
    rows : sequence of sequences of str
    notes : sequence of str
        What was altered or cut short.
    """

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    headings: tuple[str, ...] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()

    def text(self) -> str:
        """At most about one screen."""
        width = max(map(len, self.facts), default=0)
        lines = [shown(self.title)]
        lines += [f"  {name:<{width}}  {shown(value)}" for name, value in self.facts.items()]
        if self.rows:
            lines += _columns([self.headings, *self.rows[:ROWS_OF_A_SCREEN]])
            lines += _and_more(len(self.rows) - ROWS_OF_A_SCREEN, "row")
        lines += [f"  note: {shown(note, 300)}" for note in self.notes[:NOTES]]
        return "\n".join([*lines, *_and_more(len(self.notes) - NOTES, "note")])

    def html(self) -> str:
        """The same for a notebook, which brings the style of its tables; every word is escaped."""
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
    """An object that shows what is on its card."""

    @abstractmethod
    def _card(self) -> Card:
        """What there is to see."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {shown(self._card().title)}>"

    def __str__(self) -> str:
        return self._card().text()

    def _repr_html_(self) -> str:
        return self._card().html()


def frame_of(records: Iterable[Mapping[str, Any]]) -> Any:
    """A ``pandas.DataFrame`` with a row a record; a number that is not known is NaN.

    Raises
    ------
    UnavailableMethodError
        pandas, which this package does without, is not installed.
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
