"""The code blocks of README and docs run as they stand: a page's Python blocks as one script, `sh` blocks in order.

A block whose info string says more than the language (```sh install) is not run here. Scripts and commands run in this
process, so that PyTorch is imported once and not by each; a script that calls ``run_batch`` has a process of its own,
because the workers of a batch must not run the script that started them. The installed command as a process is looked
at in ``tests/cli/test_executable.py``.
"""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import Cli

from cbs_opt.evaluation import catalogue

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the page's code blocks, in order."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; what a page registers is forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalogue, "_EXTRA", {})
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_code_blocks_run(page: Path, workplace: Path, cli: Cli) -> None:
    script = workplace / "page.py"
    script.write_text("\n".join(text for language, text in blocks(page) if language == "python"), encoding="utf-8")
    if "run_batch" in script.read_text(encoding="utf-8"):
        command = [sys.executable, "-W", "error", script]
        ran = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    else:
        runpy.run_path(str(script), run_name="__main__")
    for language, text in blocks(page):
        for line in text.splitlines() if language == "sh" else ():
            program, *words = shlex.split(line, comments=True)
            assert program == "cbs-opt", f"{line}: give commands of other programs a block that says more than sh"
            run = cli(*words)
            assert run.code == 0, (line, run)
