"""The scripts of docs/examples run as they stand, each draws its picture, and what they show is so.

They run in this process, so that PyTorch is imported once, and what they computed is looked at by the names they give
it; the batch has a process of its own, because its workers must not run the script that started them.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from in_step import in_step

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PNG = b"\x89PNG\r\n\x1a\n"


Run = Callable[[str], dict[str, Any]]


def check(name: str, printed: str, folder: Path) -> None:
    """The picture is one, it is all that is left, and the page shows what was printed."""
    assert [file.name for file in folder.iterdir()] == [f"{name}.png"]
    assert (folder / f"{name}.png").read_bytes().startswith(PNG)
    page = (EXAMPLES / "index.md").read_text(encoding="utf-8")
    found = re.search(rf"^\[{name}\.py\].*?^```text\n(.*?)^```$", page, re.M | re.S)
    assert found
    assert in_step(found[1], printed), printed


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the script of this name; what it leaves in its names."""

    def by_name(name: str) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name])
        capsys.readouterr()
        left = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        check(name, capsys.readouterr().out, tmp_path)
        return left

    return by_name


def test_every_script_is_tested_and_on_the_page() -> None:
    page, tests = (EXAMPLES / "index.md").read_text(encoding="utf-8"), Path(__file__).read_text(encoding="utf-8")
    for script in EXAMPLES.glob("*.py"):
        assert f'"{script.stem}' in tests
        assert f"({script.name})" in page
        assert f"({script.stem}.png)" in page


def test_block(run: Run) -> None:
    left = run("block")
    table = left["table"]
    assert table["bnb"].gap <= 1e-6
    assert all(row.gap >= 0 and row.pruned >= 24 for row in table.rows)
    assert table["magnitude"].gap > table["swap"].gap, "the page says so"


def test_own_formulation(run: Run) -> None:
    left = run("own_formulation")
    table = left["table"]
    assert left["bounds"] == sorted(left["bounds"]), "a further cut takes nothing from the bound"
    assert left["bounds"][-1] <= table["bnb"].objective * (1 + 1e-6)
    assert table["own formulation"].objective == pytest.approx(table["bnb"].objective, rel=1e-4)


@pytest.mark.slow
def test_cnn(run: Run) -> None:
    pruned = run("cnn")["pruned"]
    assert pruned.sparsity >= 0.9
    assert pruned.accuracy_dense > 0.95
    assert pruned.accuracy > pruned.accuracy_dense - 0.03
    assert all(0 <= layer.gap < 1 and layer.bound <= layer.objective for layer in pruned.layers)


@pytest.mark.slow
def test_encoder(run: Run) -> None:
    runs = run("encoder")["runs"]
    assert runs["half"].accuracy > runs["half"].accuracy_dense - 0.03
    for name, mask in runs["2:4"].masks().items():
        assert (mask.reshape(len(mask), -1, 4).sum(axis=2) <= 2).all(), name
    assert all(0 <= pruned.gap < 1 for pruned in runs.values())


@pytest.mark.slow
def test_language_model(run: Run) -> None:
    pytest.importorskip("transformers")
    left = run("language_model")
    ours, theirs = left["ours"], left["theirs"]
    assert [layer.name for layer in ours] == [layer.name for layer in theirs]
    assert all(0 <= layer.mask_gap < 1 for layer in (*ours, *theirs))
    assert left["perplexity"](left["runs"][-1].model) < left["perplexity"](left["by_magnitude"](0.9))


@pytest.mark.slow
def test_batch(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", EXAMPLES / "batch.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    check("batch", ran.stdout, tmp_path)
    assert "104 tasks done, 0 failed" in ran.stdout
    gaps = {row[0]: float(row[1]) for row in re.findall(r"^(\S+) +([\d.]+)% +[\d.]+% +\d+/26", ran.stdout, re.M)}
    assert gaps["bnb"] == 0.0
    assert gaps["magnitude"] > gaps["greedy-obs"] > gaps["swap"] > 0, "the page says so"
