"""The messages between a worker and its solver process, over pipes: two lengths, a piece of JSON, and plain bytes.

Answers are never unpickled. Tasks hold pickled bytes only where a block has no file (see ``cbs_opt.batch.carried``).
"""

from __future__ import annotations

import json
import struct
from typing import Any

BLOCK = "block"
"""The key of a task under which the bytes of a block without a file are held."""

_LENGTHS = struct.Struct("<IQ")


def frame(head: dict[str, Any], blob: bytes = b"") -> bytes:
    """One message as bytes."""
    text = json.dumps(head, allow_nan=False).encode()
    return _LENGTHS.pack(len(text), len(blob)) + text + blob


def task_frame(task: dict[str, Any]) -> bytes:
    """A task as one message, with the bytes of a block without a file after the JSON."""
    return frame({key: value for key, value in task.items() if key != BLOCK}, task.get(BLOCK, b""))


class Frames:
    """Puts messages together from bytes that arrive in pieces."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        """Add bytes that were read."""
        self._bytes += data

    def take(self) -> tuple[bytes, bytes] | None:
        """The next message as (JSON, bytes); None until all of it has arrived."""
        if len(self._bytes) < _LENGTHS.size:
            return None
        size, extra = _LENGTHS.unpack_from(self._bytes)
        end = _LENGTHS.size + size + extra
        if len(self._bytes) < end:
            return None
        head = bytes(self._bytes[_LENGTHS.size : _LENGTHS.size + size])
        blob = bytes(self._bytes[_LENGTHS.size + size : end])
        del self._bytes[:end]
        return head, blob
