"""`cbs-opt batch` as it is typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from commandline import Cli, make_block

from cbs_opt.store import open_store

COMMAND = [sys.executable, "-P", "-c", "import sys; from cbs_opt.cli import main; sys.exit(main())", "batch"]


@pytest.fixture
def cli(cli: Cli) -> Cli:
    """Run ``cbs-opt batch`` with these words."""
    return partial(cli, "batch")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


def test_a_batch_says_what_it_did(cli: Cli, folder: Path, store: Path) -> None:
    words = (folder, "--methods", "greedy-obs,bnb", "--sparsity", "0.5,0.7", "--store", store, "--jobs", 1)
    first = cli(*words)
    assert first.code == 0, first
    assert "24 tasks: 24 done now" in first.out
    assert "0 failed" in first.out
    assert first.err.startswith("24 tasks with 1 worker\n")
    legend = f"–: a heuristic proves no bound; `cbs-opt report {store}` judges it by the best of any method"
    assert legend in " ".join(first.out.split())
    assert legend not in cli(folder, "--methods", "bnb", "--sparsity", "0.5", "--store", store, "--jobs", 1).out
    assert "\x1b" not in first.err
    second = cli(*words, "--json", "-")
    assert second.json()["before"] == 24
    assert second.json()["solved"] == second.json()["left"] == second.json()["failed"] == 0
    assert [line["done"] for line in second.json()["lines"]] == [6] * 4


def test_a_failure_is_told_and_the_exit_code_is_1(cli: Cli, folder: Path, store: Path) -> None:
    (folder / "bad.npz").write_bytes(b"")
    run = cli(folder, "--sparsity", 0.5, "--store", store, "--jobs", 1)
    assert run.code == 1
    assert "7 tasks: 7 done now" in run.out
    assert "1 failed" in run.out
    assert "failed: 1 bad input" in run.out
    assert "bad.npz, bnb, sparsity 0.5: bad input" in run.out


def test_a_dry_run_counts_and_writes_nothing(cli: Cli, folder: Path, store: Path) -> None:
    words = (folder, "--methods", "greedy-obs,bnb", "--store", store, "--dry-run")
    assert "to do           12" in cli(*words, "--sparsity", 0.5).out
    assert list(store.parent.iterdir()) == [folder]
    assert cli(folder, "--sparsity", 0.5, "--store", store, "--jobs", 1).code == 0
    before = store.read_bytes()
    counts = cli(*words, "--sparsity", "0.5,0.6", "--json", "-").json()
    assert (counts["asked"], counts["done"], counts["to_do"], counts["blocks"]) == (24, 6, 18, 6)
    assert store.read_bytes() == before


def test_a_study_file_and_flags_over_it(cli: Cli, folder: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('blocks = ["blocks"]\nmethods = ["bnb"]\nsparsity = 0.5\njobs = 1\nstore = "from-study.sqlite"\n')
    run = cli("--study", study, "--methods", "obd,magnitude")
    assert run.code == 0, run
    with open_store(tmp_path / "from-study.sqlite") as opened:
        assert sorted(opened.methods()) == ["magnitude", "obd"]
        assert opened.asked() == ["sparsity 0.5"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sparsity", "2"), "sparsity: is 2.0"),
        (("--sparsity", "0.5", "--methods", "bnbb"), "did you mean bnb?"),
        (("--sparsity", "0.5", "--seeds", "x"), "--seeds: is 'x'"),
        (("--sparsity", "0.5", "--memory-limit", "1MB"), "memory_limit: is 1 MB"),
        (("--sparsity", "0.5", "--time-limit", "-1"), "time_limit: is -1.0"),
        (("--sparsity", "0.5", "--backend", "dask"), "--scheduler ADDRESS"),
        (("--sparsity", "0.5", "--backend", "slurm"), "'slurm' is unknown; there are loky, dask, ray"),
        ((), "give --sparsity R"),
        (("--sparsity", "0.5", "--study", "missing.toml"), "missing.toml: cannot be read"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, folder: Path, store: Path, words: tuple[str, ...], said: str) -> None:
    cli(folder, "--store", store, *words).refused(said)
    assert not store.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('blocks = ["a\\u0000b"]', "blocks: is 'a\\x00b'"),
        ('store = "\\u0000"', "store: is '\\x00'"),
        ("x = 1" + "0" * 5000, "is not TOML (Exceeds the limit"),
        ("x = " + "[" * 100_000, "is not TOML (maximum recursion depth"),
    ],
    ids=["blocks", "store", "digits", "depth"],
)
def test_study_files_that_cannot_be_are_refused(cli: Cli, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "study.toml").write_text(f"sparsity = 0.5\n{text}\n", encoding="utf-8")
    cli("--study", tmp_path / "study.toml", "--dry-run").refused(f"{tmp_path / 'study.toml'}: {said}")


def test_no_blocks_is_refused(cli: Cli, store: Path, tmp_path: Path) -> None:
    cli("--sparsity", 0.5, "--store", store).refused("there are no blocks")
    cli(tmp_path, "--sparsity", 0.5, "--store", store).refused("holds no .npz files")
    assert not store.exists()


def test_stores_that_cannot_be_written_are_refused(cli: Cli, folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("just text" * 1000)
    cli(folder, "--sparsity", 0.5, "--store", text).refused("not an SQLite database")
    cli(folder, "--sparsity", 0.5, "--store", tmp_path).refused("is a folder")
    cli(folder, "--sparsity", 0.5, "--store", tmp_path / "no" / "r.sqlite").refused("does not exist")


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(400):
        make_block(folder / f"b{seed:03}.npz", seed, n=14)
    words = [*COMMAND, str(folder), "--sparsity", "0.5", "--store", str(store), "--jobs", "2"]
    batch = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while batch.poll() is None and not done(store):
        time.sleep(0.02)
    os.killpg(batch.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, err = batch.communicate()
    assert batch.returncode == 130
    left = 400 - done(store)
    assert f"{left} tasks are left; the same command goes on with them" in err
    assert "Traceback" not in err
    assert 0 < left < 400
    again = subprocess.run([*words, "--json", "-"], capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["solved"] == left


def done(store: Path) -> int:
    if not store.exists():
        return 0
    try:
        with open_store(store) as opened:
            return sum(opened.counts().values())
    except Exception:
        return 0  # it is being made


def test_nothing_is_left_behind_when_the_parent_alone_is_killed(tmp_path: Path, store: Path) -> None:
    """Workers and solver processes end themselves; they hold no lock, so the batch can go on at once."""
    folder = tmp_path / "long"
    folder.mkdir()
    for seed in range(4):
        make_block(folder / f"b{seed}.npz", seed, n=20)
    words = [*COMMAND, str(folder), "--methods", "enumeration", "--prune", "10", "--store", str(store), "--jobs", "2"]
    batch = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while batch.poll() is None and sum(b"cbs_opt.batch.child" in words for words in group(batch.pid)) < 2:
        time.sleep(0.05)
    os.kill(batch.pid, signal.SIGKILL)
    batch.wait()
    while any(b"cbs_opt" in words or b"popen_loky" in words for words in group(batch.pid)):
        time.sleep(0.1)
    assert subprocess.run([*words, "--dry-run"], capture_output=True).returncode == 0


def group(leader: int) -> list[bytes]:
    """The command lines of the processes in a group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getpgid(int(entry.name)) == leader:
                    found.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return found
