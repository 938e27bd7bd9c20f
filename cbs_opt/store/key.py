"""The key under which a store keeps a result: two tasks with the same key are the same, and are solved only once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

LIMITS = frozenset({"time_limit", "memory_limit"})
"""Options that limit the effort and do not change the task; a store holds one result, whatever these limits were."""


def version_that_matters() -> str:
    """The major and minor version of the package; a patch version changes no answer, and is no part of a key."""
    from cbs_opt.version import __version__

    return ".".join(__version__.split(".")[:2])


def result_key(content: str, method: str, asked: str, seed: int | None, options: Mapping[str, Any]) -> str:
    """The key of a result, 64 hexadecimal digits.

    Parameters
    ----------
    content : str
        SHA-256 of the block, see ``cbs_opt.kernel.block_file.content_of``.
    method, asked : str
        The method and the request, for instance ``bnb`` and ``sparsity 0.8``.
    seed : int or None
        The seed; None for a method that draws no random numbers.
    options : mapping
        The options of the method, as plain values. Limits of time and memory are no part of the key.
    """
    what = {name: value for name, value in options.items() if name not in LIMITS}
    parts = [content, method, asked, seed, what, version_that_matters()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
