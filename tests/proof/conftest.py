"""A block, as for the other commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import make_block


@pytest.fixture
def block(tmp_path: Path) -> Path:
    return make_block(tmp_path / "row0.npz", n=12)
