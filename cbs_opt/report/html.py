"""What all HTML pages share: escaped cells, sortable tables, and a document that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

TEXT = ' class="text"'


@dataclass(frozen=True)
class Cell:
    """A table cell: the text that is shown, and the full value to sort by (None if it is unknown)."""

    shown: str
    value: float | None = None
    text: bool = False

    def html(self) -> str:
        """The cell as a ``td``."""
        if self.text:
            return f'<td class="text">{escape(self.shown)}</td>'
        known = self.value is not None and math.isfinite(self.value)
        return f'<td data-value="{self.value if known else ""}">{escape(self.shown)}</td>'


def table(headings: Sequence[str], rows: Iterable[tuple[str, Sequence[Cell]]], frame: str = "scroll") -> str:
    """A sortable table. Each row comes with its CSS class; a heading is aligned like the cells of its column."""
    rows = list(rows)
    texts = [cell.text for cell in rows[0][1]] if rows else [False] * len(headings)
    head = "".join(
        f"<th{TEXT if text else ''}><button>{escape(heading)}</button></th>"
        for heading, text in zip(headings, texts, strict=True)
    )
    lines = []
    for kind, cells in rows:
        attribute = f' class="{kind}"' if kind else ""
        lines.append(f"<tr{attribute}>{''.join(cell.html() for cell in cells)}</tr>\n")
    body = "".join(lines)
    return f'<div class="{frame}"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n'


def facts(values: Iterable[tuple[str, str]]) -> str:
    """A row of cards, each a name and a value."""
    cards = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values)
    return f'<dl class="facts">{cards}</dl>\n'


def pairs(values: Mapping[str, object]) -> str:
    """Names and values, one pair per line."""
    items = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(_plain(v))}</dd>" for k, v in values.items())
    return f'<dl class="pairs">{items}</dl>\n'


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def document(title: str, body: str, *, styles: Sequence[str], scripts: Sequence[str], sealed: bool = False) -> str:
    """The page as text.

    Parameters
    ----------
    title : str
        The title, plain text.
    body : str
        The body, HTML.
    styles, scripts : sequences of str
        Names of files of this package whose content becomes part of the page.
    sealed : bool
        Tell the browser to run only these scripts and to load nothing, so that a name on the page stays text whatever
        it holds. The body then cannot have ``style`` attributes.
    """
    style, script = (f"\n{''.join(map(asset, names))}" for names in (styles, scripts))
    policy = ""
    if sealed:
        policy = (
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'\">\n"
            '<link rel="icon" href="data:,">\n'
        )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{policy}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{style}</style>\n</head>\n<body>\n{body}<script>{script}</script>\n</body>\n</html>\n"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def asset(name: str) -> str:
    """The content of a text file of this package."""
    return resources.files("cbs_opt.report").joinpath(name).read_text(encoding="utf-8")
