"""Folders of small blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import make_block
from from_root import import_from_root

from cbs_opt.batch import Asked, Settings


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are run from the repository root and are no part of the package."""
    import_from_root(monkeypatch, "benchmarks")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six blocks of 6 to 11 weights."""
    target = tmp_path / "blocks"
    target.mkdir()
    for seed in range(6):
        make_block(target / f"row{seed}.npz", seed, n=6 + seed)
    return target


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> Settings:
    """Greedy and exact at one sparsity, with one worker."""
    return Settings(
        blocks=(str(folder),),
        methods=("greedy-obs", "bnb"),
        asked=(Asked("sparsity", "0.5"),),
        store=str(tmp_path / "results.sqlite"),
        jobs=1,
    )
