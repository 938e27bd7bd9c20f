"""Names of files as text that any file, database or page can hold; on disk a name is bytes, which need not be UTF-8."""

from __future__ import annotations

import re

_HALVES = re.compile("[\ud800-\udfff]")
_BYTES = re.compile(r"\\x([89a-f][0-9a-f])")


def as_text(name: str) -> str:
    r"""``name`` with an escape like ``\xff`` for each byte that is not UTF-8 (in Python's string a lone surrogate)."""
    return _HALVES.sub(_escaped, name)


def as_path(text: str) -> str:
    r"""The path of which ``as_text`` made ``text``: an escape like ``\xff`` becomes that byte again."""
    return _BYTES.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def _escaped(found: re.Match[str]) -> str:
    half = ord(found[0])
    return f"\\x{half - 0xDC00:02x}" if 0xDC80 <= half <= 0xDCFF else f"\\u{half:04x}"
