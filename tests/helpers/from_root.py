"""``benchmarks`` and ``docs``, which are no part of the package, as packages that tests can import from."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def import_from_root(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """For one test; the search path stays as it is, so that cbs_opt is the installed one and not what lies beside."""
    for name in [name for name in sys.modules if name.split(".")[0] == folder]:
        monkeypatch.delitem(sys.modules, name)
    package = ModuleType(folder)
    package.__path__ = [str(ROOT / folder)]
    monkeypatch.setitem(sys.modules, folder, package)
