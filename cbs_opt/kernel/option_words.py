"""What a method's options do, taken from the docstring of its ``run`` function, where it is written once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

_ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*)(?: : (?P<kind>.+))?$")


def option_words(run: Callable[..., Any]) -> dict[str, str]:
    """The description of each parameter in the numpydoc section 'Parameters' of ``run``, as one line."""
    words: dict[str, str] = {}
    names: list[str] = []
    kind, text = "", list[str]()
    for line in [*_parameters(inspect.getdoc(run) or ""), "end"]:
        entry = _ENTRY.match(line)
        if entry is None:
            text.append(line.strip())
            continue
        words |= dict.fromkeys(names, " ".join(filter(None, text)) or kind)
        names, kind, text = entry["names"].split(", "), entry["kind"] or "", []
    return words


def _parameters(doc: str) -> list[str]:
    """The lines of the section 'Parameters' of a docstring; none without such a section."""
    lines = doc.splitlines()
    if "Parameters" not in lines:
        return []
    section = lines[lines.index("Parameters") + 2 :]
    last = next((i for i, line in enumerate(section) if re.fullmatch("-{3,}", line)), len(section) + 1)
    return section[: last - 1]
