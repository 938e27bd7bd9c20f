"""The code blocks of README and docs run as they stand: a page's Python blocks as one script, `sh` blocks in order.

A block whose info string says more than the language (```sh install) is not run here, with two exceptions:
```python title="net.py" is a file that the others find in their folder, and ```text title="Output" is what the block
before it prints. There numbers may differ, because processors do, and a line "…" stands for lines that are left out.
Scripts and commands run in this process, so that PyTorch is imported once and not by each; a script that calls
``run_batch`` has a process of its own, because the workers of a batch must not run the script that started them. The
installed command as a process is looked at in ``tests/cli/test_executable.py``.
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
from in_step import in_step

from cbs_opt.evaluation import catalogue

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:(python|sh)|python title=\"(\w+\.py)\"|text title=\"(Output)\")\n(.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the page's code blocks, in order; in place of the language a file's name, or 'Output'."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language or file or output, text) for language, file, output, text in found]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, from which modules are imported; what a page registers or imports is forgotten after."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(catalogue, "_EXTRA", {})
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_code_blocks_run(
    page: Path, workplace: Path, cli: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    found = blocks(page)
    for name, text in found:
        if name.endswith(".py"):
            (workplace / name).write_text(text, encoding="utf-8")
            monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    printed = printed_by_script(found, workplace, capsys)
    for number, (language, text) in enumerate(found):
        for line in text.replace("\\\n", " ").splitlines() if language == "sh" else ():
            program, *words = shlex.split(line, comments=True)
            assert program == "cbs-opt", f"{line}: give commands of other programs a block that says more than sh"
            run = cli(*words)
            assert run.code == 0, (line, run)
            printed[number] = printed.get(number, "") + run.out
    for number, (language, text) in enumerate(found):
        if language == "Output":
            assert in_step(text, printed[number - 1]), (
                f"{page.name} shows\n{text}\nwhere is printed\n{printed[number - 1]}"
            )


def printed_by_script(
    found: list[tuple[str, str]], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> dict[int, str]:
    """Runs the Python blocks as one script; what each of them prints, by its number."""
    mark = "---- end of block {} ----"
    parts = [f"{text}\nprint({mark.format(number)!r})" for number, (name, text) in enumerate(found) if name == "python"]
    script = workplace / "page.py"
    script.write_text("\n".join(parts), encoding="utf-8")
    if "run_batch" in script.read_text(encoding="utf-8"):
        command = [sys.executable, "-W", "error", script]
        ran = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        out = ran.stdout
    else:
        capsys.readouterr()
        runpy.run_path(str(script), run_name="__main__")
        out = capsys.readouterr().out
    words = re.split(re.escape(mark).replace(r"\{\}", r"(\d+)") + "\n", out)
    return {int(number): text for text, number in zip(words[0::2], words[1::2], strict=False)}


def test_an_output_that_is_not_in_step_is_seen() -> None:
    printed = "gap 12.5 %\n ────\ntime 3 ms\nthe end\n"
    assert in_step("gap  7e-05 %\n…\nthe end", printed)
    assert not in_step("gap  7e-05 %\nthe end", printed)
    assert not in_step("bound 12.5 %\n…\nthe end", printed)
