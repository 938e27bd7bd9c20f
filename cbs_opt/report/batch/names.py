"""Names from a store as they can be shown: they may hold anything."""

from __future__ import annotations

import unicodedata


def shown(text: str, most: int = 120) -> str:
    """One line of at most ``most`` characters, in which nothing commands a terminal or turns the text around."""
    clean = "".join(_visible(character) for character in text[: 4 * most])
    if len(clean) <= most:
        return clean
    # Names of blocks differ at their ends as often as at their beginnings.
    head = most * 2 // 3
    return f"{clean[:head]}…{clean[head + 1 - most :]}" if len(text) <= 4 * most else f"{clean[: most - 1]}…"


def _visible(character: str) -> str:
    # Cc: control characters; Cf: marks such as those that reverse the direction; Cs: halves of characters.
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return " " if character in "\n\t\r" else "�"
    return character
