"""Names of files as text that any file, database or page can hold: a name is bytes, and need not be UTF-8."""

from __future__ import annotations

import re

_HALVES = re.compile("[\ud800-\udfff]")
_BYTES = re.compile(r"\\x([89a-f][0-9a-f])")


def as_text(name: str) -> str:
    r"""``name`` with ``\xff`` for a byte that is no UTF-8, which Python keeps as half a character."""
    return _HALVES.sub(_escaped, name)


def as_path(text: str) -> str:
    r"""The path that ``as_text`` wrote so, where it has a byte that is no UTF-8: ``\xff`` is that byte again."""
    return _BYTES.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def _escaped(found: re.Match[str]) -> str:
    half = ord(found[0])
    return f"\\x{half - 0xDC00:02x}" if 0xDC80 <= half <= 0xDCFF else f"\\u{half:04x}"
