"""The installed command as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXECUTABLE = Path(sys.executable).with_name("cbs-opt")


def execute(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EXECUTABLE, *map(str, words)], capture_output=True, text=True, timeout=60)


def test_help_loads_nothing_heavy() -> None:
    """What makes `cbs-opt --help` answer at once: not even NumPy is imported for it."""
    code = (
        "import sys\n"
        "from cbs_opt.cli import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'numpy', 'scipy', 'torch', 'pyomo', 'numba', 'matplotlib', 'sklearn', 'joblib'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "solve" in done.stdout


def test_json_is_the_only_thing_on_stdout_and_stderr_is_silent(block: Path) -> None:
    done = execute("solve", block, "--sparsity", 0.5, "--method", "magnitude", "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["pruned"] == 4


def test_bad_input_is_one_sentence_and_two(tmp_path: Path) -> None:
    file = tmp_path / "bad.npz"
    np.savez(file, w=[1.0, np.nan], H=np.eye(2))
    words = ("solve", file, "--prune", 1, "--method", "magnitude")
    done = execute(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {file}: w: entry 1 is nan; all entries must be finite\n"
    for debugging in ((*words, "--debug"), ("--debug", *words)):
        done = execute(*debugging)
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert done.stderr.endswith("all entries must be finite\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no shell pipes")
def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    pipe = f"'{EXECUTABLE}' compare '{folder}' --prune 3 --methods magnitude --json - | head -c 5"
    done = subprocess.run(["sh", "-c", pipe], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert len(done.stdout) == 5


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)


PRINTS = ["methods", "--version", "solve BLOCK --prune 3 --method magnitude --json -"]


@pytest.mark.skipif(sys.platform != "linux", reason="no /dev/full")
@pytest.mark.parametrize("words", PRINTS)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_one_sentence(block: Path, words: str, unbuffered: str) -> None:
    done = shell(f"PYTHONUNBUFFERED={unbuffered} '{EXECUTABLE}' {words.replace('BLOCK', str(block))} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output cannot be written (No space left on device)")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no shell")
def test_a_closed_standard_output_is_refused_before_any_work(block: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    solving = f"'{EXECUTABLE}' solve '{block}' --prune 3 --method magnitude --out '{out}'"
    done = shell(f"{solving} >&-")
    assert done.returncode == 1
    assert done.stderr == "error: standard output is closed; give it a file, a pipe or /dev/null\n"
    assert not out.exists()
    done = shell(f"{solving} 2>&-")
    assert (done.returncode, out.exists()) == (0, True)


@pytest.mark.skipif(sys.platform == "win32", reason="no shell pipes")
@pytest.mark.parametrize("words", PRINTS)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nothing_is_said_where_nobody_reads(block: Path, words: str, unbuffered: str) -> None:
    """The reader is gone before anything is written, which the command learns from its first write."""
    command = f"PYTHONUNBUFFERED={unbuffered} '{EXECUTABLE}' {words.replace('BLOCK', str(block))}"
    done = shell(f"(sleep 0.2; {command}; echo $? >&2) | true")
    assert done.stderr == "1\n"


def test_without_a_compiler_the_searches_are_refused(block: Path) -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    for words in (["solve", block, "--prune", "3"], ["compare", block, "--prune", "3"]):
        done = subprocess.run([EXECUTABLE, *words], capture_output=True, text=True, timeout=60, env=environment)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "error: the bounds and searches need numba's compiler, which NUMBA_DISABLE_JIT turns off; unset it\n"
        )


def test_a_terminal_without_unicode_gets_question_marks(block: Path) -> None:
    command = [EXECUTABLE, "methods"]
    done = subprocess.run(command, capture_output=True, timeout=60, env={"PYTHONIOENCODING": "ascii", "PATH": ""})
    assert done.returncode == 0
    assert b"magnitude" in done.stdout
