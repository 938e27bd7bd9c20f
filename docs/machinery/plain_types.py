"""An extension of the reader of docstrings: ``x : array, shape (n,)`` is shown as words, and not taken for Python."""

from __future__ import annotations

import re
from typing import Any

import griffe

SHAPE = re.compile(r"^(\s*[\w, ]+ : [^\n]*?), shape \(", re.MULTILINE)


class PlainTypes(griffe.Extension):
    """Writes ', shape (' as ' of shape (' in the types of a docstring, which no longer looks like a call then."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Every object, when it is loaded."""
        if obj.docstring:
            obj.docstring.value = SHAPE.sub(r"\1 of shape (", obj.docstring.value)
