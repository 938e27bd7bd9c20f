"""Checks of what is read from a store: SQLite enforces no types, and other programs may have written to the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

Kinds = Mapping[str, type]

_REALS = (
    "objective",
    "bound",
    "gap",
    "selection_objective",
    "selection_bound",
    "selection_gap",
    "round_off",
    "seconds",
)
_WORDS = ("reason", "error", "solution_status", "termination_condition")
_COUNTS = ("seed", "nodes", "n", "pruned", "environment")

BLOCK: tuple[Kinds, Kinds] = (
    {"content": str, "name": str, "file": str, "id": int},
    {"n": int, "tensor": str, "first": int, "manifest": str, "unit": float},
)
"""The types of columns that must have a value, and of those that may be NULL; likewise in the tables below."""
RESULT: tuple[Kinds, Kinds] = (
    {
        "key": str,
        "block": int,
        "method": str,
        "asked": str,
        "options": str,
        "status": str,
        "notes": str,
        "attempts": int,
        "finished": str,
        "id": int,
    },
    {
        **dict.fromkeys(_WORDS, str),
        **dict.fromkeys(_REALS, float),
        **dict.fromkeys(_COUNTS, int),
        "mask": bytes,
        "weights": bytes,
    },
)
GAP: tuple[Kinds, Kinds] = (
    {"result": int, "block": int, "name": str, "method": str, "asked": str, "objective": float, "broken": int},
    {"seed": int, "bound": float, "gap": float, "selection_objective": float, "selection_bound": float},
)
TRACE: tuple[Kinds, Kinds] = ({"result": int, "seconds": float}, {"incumbent": float, "bound": float})


def check(values: Mapping[str, Any], kinds: tuple[Kinds, Kinds]) -> None:
    """Raise a ``ValueError`` that names the column unless all values of a row have the types of ``kinds``.

    Numbers must be finite, whole numbers also not negative, and a result that is done must have an objective.
    """
    needed, possible = kinds
    for name, value in values.items():
        kind = needed.get(name) or possible[name]
        if value is None and name in possible:
            continue
        infinite = isinstance(value, float) and not math.isfinite(value)
        negative = isinstance(value, int) and value < 0
        if infinite or negative or not isinstance(value, kind):
            raise ValueError(f"{name} is {value!r:.40}")
    if values.get("status") == "done" and "objective" in values and values["objective"] is None:
        raise ValueError("objective is None")


def options_of(text: str) -> dict[str, Any]:
    """The options of a result, from their JSON text."""
    read = json.loads(text)
    if not isinstance(read, dict):
        raise ValueError(f"options is {text!r:.40}")
    return read


def notes_of(text: str) -> tuple[str, ...]:
    """The notes of a result, from their JSON text."""
    read = json.loads(text)
    if not isinstance(read, list) or not all(isinstance(note, str) for note in read):
        raise ValueError(f"notes is {text!r:.40}")
    return tuple(read)


def environment_of(text: Any) -> dict[str, str]:
    """The versions with which results were computed, from their JSON text."""
    read = json.loads(text) if isinstance(text, str) else None
    if not isinstance(read, dict) or not all(isinstance(value, str) for value in read.values()):
        raise ValueError(f"content is {text!r:.40}")
    return read
