"""What makes two tasks the same: the key under which a result is stored, and nothing is solved twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

LIMITS = frozenset({"time_limit", "memory_limit"})
"""Options that say how long to try, not what is asked; a store holds one result, however long it took."""


def version_that_matters() -> str:
    """Major and minor version of the package: a patch changes no answer."""
    from cbs_opt.version import __version__

    return ".".join(__version__.split(".")[:2])


def result_key(content: str, method: str, asked: str, seed: int | None, options: Mapping[str, Any]) -> str:
    """The key of a result, 64 hexadecimal digits.

    Parameters
    ----------
    content : str
        SHA-256 of the block, see ``cbs_opt.kernel.block_file.content_of``.
    method, asked : str
        As ``bnb`` and ``sparsity 0.8``.
    seed : int or None
        None for a method that draws nothing.
    options : mapping
        The method's own, plain values; ``LIMITS`` among them are left out.
    """
    what = {name: value for name, value in options.items() if name not in LIMITS}
    parts = [content, method, asked, seed, what, version_that_matters()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
