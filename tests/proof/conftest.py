"""The command line and a block, as for the other commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import Cli, Run, make_block

from cbs_opt.cli import main


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``cbs-opt`` with these words."""

    def run(*words: object) -> Run:
        capsys.readouterr()
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        return Run(code, printed.out, printed.err)

    return run


@pytest.fixture
def block(tmp_path: Path) -> Path:
    return make_block(tmp_path / "row0.npz", n=12)
