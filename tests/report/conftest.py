"""The command line in this process, and one browser for all tests that look at a page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Chromium, find_chromium
from commandline import Cli, Run

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


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium here: the page was not looked at (apt-get install chromium)")
    with Chromium(executable) as running:
        yield running
