"""The code blocks of README and docs run as they stand: a page's Python blocks as one script, `sh` blocks in order.

A block whose info string says more than the language (```sh install) is not run here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the page's code blocks, in order."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_code_blocks_run(page: Path, tmp_path: Path) -> None:
    script = "\n".join(text for language, text in blocks(page) if language == "python")
    (tmp_path / "page.py").write_text(script, encoding="utf-8")
    commands = "\n".join(text for language, text in blocks(page) if language == "sh")
    for command in ([sys.executable, "-W", "error", "page.py"], ["bash", "-euo", "pipefail", "-c", commands]):
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
