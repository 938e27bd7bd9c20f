"""Blocks to feed the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import make_block


@pytest.fixture
def block(tmp_path: Path) -> Path:
    return make_block(tmp_path / "row0.npz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three blocks in a folder of their own."""
    target = tmp_path / "blocks"
    target.mkdir()
    for seed in range(3):
        make_block(target / f"row{seed}.npz", seed)
    return target
