"""Batches from beginning to end: right answers, nothing twice, nothing lost."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cbs_opt import PruningProblem, solve
from cbs_opt.batch import BatchResult, Settings, run_batch
from cbs_opt.batch.backends import Backend
from cbs_opt.errors import StoreError
from cbs_opt.store import Result, open_store

QUICK = ("magnitude", "obd")
"""For tests of processes rather than of answers: nothing has to be compiled or loaded for these."""


class Watch:
    """Calls a function whenever results are in the store."""

    def __init__(self, call: Callable[[BatchResult], None]) -> None:
        self.call = call
        self.notices: list[str] = []

    def begin(self, result: BatchResult, backend: Backend) -> None:
        return None

    def advance(self, result: BatchResult, remaining: float | None) -> None:
        self.call(result)

    def notice(self, text: str) -> None:
        self.notices.append(text)


def stored(settings: Settings) -> dict[tuple[str, str, str, int | None], Result]:
    """By file, method, what is asked and seed."""
    with open_store(settings.store) as store:
        files = {block.id: Path(block.file).name for block in store.blocks()}
        results = list(store.results(arrays=True))
    found = {(files[result.block], result.method, result.asked, result.seed): result for result in results}
    assert len(found) == len(results)
    return found


@pytest.mark.parametrize("jobs", [1, 2])
def test_answers_are_those_of_solve(settings: Settings, folder: Path, jobs: int) -> None:
    result = run_batch(replace(settings, jobs=jobs, gap=1e-4))
    assert (result.asked, result.before, result.solved, result.left, result.exit_code) == (12, 0, 12, 0, 0)
    assert result.tally.sums() == (12, 6, 0, 0)
    found = stored(settings)
    for file in folder.iterdir():
        problem = PruningProblem.load(file).at_sparsity(0.5)
        for method in ("greedy-obs", "bnb"):
            ours = solve(problem, method, **({"gap": 1e-4} if method == "bnb" else {}))
            theirs = found[file.name, method, "sparsity 0.5", None]
            assert theirs.mask is not None
            assert theirs.weights is not None
            assert theirs.objective == ours.objective
            assert theirs.mask.tolist() == ours.mask.tolist()
            assert theirs.weights.tolist() == ours.weights.tolist()
            assert theirs.proven == (method == "bnb")
            assert theirs.environment is not None


def test_a_batch_goes_on_where_it_stopped(settings: Settings) -> None:
    run_batch(replace(settings, methods=("greedy-obs",)))
    before = stored(settings)
    result = run_batch(settings)
    assert (result.before, result.solved) == (6, 6)
    assert run_batch(settings).solved == 0
    after = stored(settings)
    assert all(after[key].seconds == row.seconds and after[key].attempts == 1 for key, row in before.items())


def test_methods_that_draw_are_run_for_every_seed(settings: Settings) -> None:
    run_batch(replace(settings, methods=("cbs", "obd"), seeds=(0, 7), options={"cbs": {"trials": 3}}))
    found = stored(settings)
    assert {(method, seed) for _, method, _, seed in found} == {("cbs", 0), ("cbs", 7), ("obd", None)}
    assert {str(row.options) for row in found.values() if row.method == "cbs"} == {"{'trials': 3}"}


def test_bad_blocks_cost_themselves_only(settings: Settings, folder: Path) -> None:
    from benchmarks.batch.bad_blocks import make_bad

    make_bad(folder, folder / "row0.npz")
    settings = replace(settings, memory_limit=800_000_000)
    result = run_batch(settings)
    assert result.exit_code == 1
    assert result.tally.sums() == (12, 6, 0, 10)
    assert dict(result.tally.reasons) == {"bad input": 8, "memory limit": 2}
    assert len(result.failures) == 10
    again = run_batch(settings)
    assert (again.solved, again.exit_code) == (0, 1), "failed tasks are not done again by themselves"
    for name in ("corrupt", "nan", "indefinite", "zero-bytes", "enormous"):
        (folder / f"{name}.npz").write_bytes((folder / "row1.npz").read_bytes() + name.encode())
    assert run_batch(settings, retry_failed=True).before == 12


def test_failed_tasks_are_done_again_when_asked(settings: Settings, folder: Path) -> None:
    settings = replace(settings, methods=("enumeration",), blocks=(str(folder / "row0.npz"),))
    with sqlite3.connect(settings.store) as database:
        run_batch(settings)
        database.execute("UPDATE results SET status = 'failed', reason = 'worker died'")
        database.commit()
    database.close()
    assert run_batch(settings).solved == 0
    result = run_batch(settings, retry_failed=True)
    assert (result.solved, result.exit_code) == (1, 0)
    assert [row.attempts for row in stored(settings).values()] == [2]


def test_an_interrupted_batch_keeps_what_is_done(settings: Settings) -> None:
    def interrupt(result: BatchResult) -> None:
        raise KeyboardInterrupt

    result = run_batch(settings, watcher=Watch(interrupt))
    assert (result.interrupted, result.exit_code) == (True, 130)
    done = stored(settings)
    assert 0 < len(done) == result.solved < 12
    assert run_batch(settings).solved == 12 - len(done)
    assert all(row.attempts == 1 for row in stored(settings).values())


def workers() -> list[int]:
    """The processes of loky that this process started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == os.getpid() and b"popen_loky" in words:
                found.append(int(entry.name))
    return found


def test_a_worker_killed_by_the_system_is_replaced(settings: Settings) -> None:
    killed: list[int] = []

    def kill(result: BatchResult) -> None:
        if not killed:
            killed.extend(workers()[:1])
            os.kill(killed[0], signal.SIGKILL)

    watch = Watch(kill)
    result = run_batch(replace(settings, methods=QUICK, jobs=2), watcher=watch)
    assert len(killed) == 1
    assert (result.solved, result.exit_code) == (12, 0)
    assert len(stored(settings)) == 12
    assert all("a worker process died" in text for text in watch.notices)


def test_workers_that_keep_dying_do_not_stop_a_batch(settings: Settings) -> None:
    def kill(result: BatchResult) -> None:
        for worker in workers():
            os.kill(worker, signal.SIGKILL)

    watch = Watch(kill)
    result = run_batch(replace(settings, methods=QUICK, jobs=2), watcher=watch)
    assert (result.solved, result.exit_code) == (12, 0)
    assert watch.notices


def test_a_full_disk_ends_a_batch_and_loses_nothing(settings: Settings) -> None:
    import cbs_opt.store.writer as writer

    run_batch(replace(settings, methods=("greedy-obs",)))
    before = stored(settings)
    connect = writer.connect

    def connect_to_a_full_disk(path: Path, mode: str) -> sqlite3.Connection:
        database = connect(path, mode)
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        return database

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "connect", connect_to_a_full_disk)
        more = settings.with_values({"sparsity": [0.1 * i for i in range(10)], "methods": ["obd", "woodfisher"]})
        with pytest.raises(StoreError, match="disk is full; what was written is safe"):
            run_batch(more)
    after = stored(settings)
    assert all(after[key].seconds == row.seconds for key, row in before.items())
    assert run_batch(settings).exit_code == 0


def test_two_batches_on_one_store(settings: Settings) -> None:
    settings = replace(settings, methods=QUICK)
    refusals: list[str] = []

    def second(result: BatchResult) -> None:
        if not refusals:
            with pytest.raises(StoreError) as caught:
                run_batch(settings)
            refusals.append(str(caught.value))
            with open_store(settings.store) as store:  # but reading is free
                assert store.counts()["done"] == result.solved

    result = run_batch(settings, watcher=Watch(second))
    assert (result.solved, result.exit_code) == (12, 0)
    assert re.search(rf"another batch writes to it \(process {os.getpid()} on ", refusals[0])


def test_a_bound_above_an_objective_is_told(settings: Settings) -> None:
    run_batch(settings)
    with sqlite3.connect(settings.store) as database:
        database.execute(
            "UPDATE results SET bound = 1e9 WHERE method = 'bnb' AND id = (SELECT max(id) FROM results "
            "WHERE method = 'bnb')"
        )
        database.commit()
    database.close()
    result = run_batch(settings)
    assert result.exit_code == 1
    assert "lies above the objective" in result.broken[0]
    assert len(result.broken) == 2


# ---------------------------------------------------------------- the experiments of the benchmark, small


def small_blocks(folder: Path, count: int) -> Path:
    from commandline import make_block

    target = folder / "small"
    target.mkdir()
    for seed in range(count):
        make_block(target / f"b{seed:03}.npz", seed, n=12)
    return target


def test_a_batch_killed_again_and_again(tmp_path: Path) -> None:
    from benchmarks.batch.killed import killed

    facts = killed(tmp_path, small_blocks(tmp_path, 60), jobs=2, sparsity=0.5, kills=3, longest=0.5, seed=0)
    assert facts["holds"], facts
    assert facts["results"] == 120


def test_five_bad_blocks_among_good_ones(tmp_path: Path) -> None:
    from benchmarks.batch.command import main

    small_blocks(tmp_path, 10).rename(tmp_path / "blocks-10-0")
    assert main(["bad", "--blocks", "10", "--folder", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    (facts,) = map(json.loads, (tmp_path / "out" / "batch.jsonl").read_text(encoding="utf-8").splitlines())
    assert facts["holds"], facts
    assert str(tmp_path) not in json.dumps(facts)
    assert "| nan.npz | bad input: nan.npz" in (tmp_path / "out" / "batch.md").read_text(encoding="utf-8")
    assert {name: reason.split(":")[0] for name, reason in facts["failed"].items()} == {
        "corrupt.npz": "bad input",
        "nan.npz": "bad input",
        "indefinite.npz": "bad input",
        "zero-bytes.npz": "bad input",
        "enormous.npz": "memory limit",
    }
