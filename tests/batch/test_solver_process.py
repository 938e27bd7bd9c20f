"""The solver process: limits that hold, and deaths that cost one task."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import make_block

from cbs_opt import PruningProblem, solve
from cbs_opt.batch import solver_process
from cbs_opt.batch.frames import Frames, frame
from cbs_opt.batch.solver_process import Limits, SolverProcess
from cbs_opt.errors import SolverError
from cbs_opt.kernel.block_file import content_of
from cbs_opt.store import unpack_mask, unpack_weights


def task(file: Path, method: str = "bnb", asked: str = "prune 4", **options: Any) -> dict[str, Any]:
    return {
        "task": 3,
        "file": str(file),
        "content": content_of(file),
        "method": method,
        "asked": asked,
        "seed": None,
        "options": options,
    }


@pytest.fixture
def solver() -> Iterator[SolverProcess]:
    process = SolverProcess(Limits(time=0.2, memory=1_000_000_000))
    yield process
    process.end()


@pytest.fixture(scope="module")
def lasting() -> Iterator[SolverProcess]:
    """One for the tests whose tasks do not end it."""
    process = SolverProcess(Limits(time=0.2, memory=1_000_000_000))
    yield process
    process.end()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make_block(tmp_path / "small.npz", n=9)


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """Enumeration of its 184,756 supports takes many seconds, and looks at no clock."""
    return make_block(tmp_path / "long.npz", n=20)


def test_messages_come_whole() -> None:
    frames = Frames()
    data = frame({"a": 1}, b"xyz") + frame({}, b"")
    for i in range(len(data)):
        frames.feed(data[i : i + 1])
        if i == 10:
            assert frames.take() is None
    assert frames.take() == (b'{"a": 1}', b"xyz")
    assert frames.take() == (b"{}", b"")
    assert frames.take() is None


def test_it_answers_as_solve_does(lasting: SolverProcess, small: Path) -> None:
    answer = lasting.solve(task(small, gap=1e-4))
    facts = json.loads(answer.facts)
    problem = PruningProblem.load(small)
    ours = solve(problem.pruning(4), "bnb", gap=1e-4)
    assert answer.task == 3
    assert facts["status"] == "done"
    assert facts["block"] == {"name": "small", "n": 9, "unit": problem.objective(np.zeros(9))}
    for name in ("objective", "bound", "gap", "selection_objective", "round_off", "nodes", "pruned"):
        assert facts[name] == getattr(ours, name)
    assert unpack_mask(answer.arrays[:2], 9).tolist() == ours.mask.tolist()
    assert unpack_weights(answer.arrays[2:]).tolist() == ours.weights.tolist()
    assert lasting.environment["threads"] == "1"


def test_long_messages_both_ways_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Tasks and answers that no pipe holds: sent ahead, each side would wait for the other to read."""
    wide, n = tmp_path / "wide.npz", 20_000
    rng = np.random.default_rng(0)
    PruningProblem.from_gradients(rng.normal(size=n), rng.normal(size=(2, n)), damping=1.0).save(wide)
    tasks = [{**task(wide, "magnitude", f"prune {k}"), "padding": "x" * 300_000} for k in (4, 5, 6)]
    solver = SolverProcess(Limits())
    for this, following in zip(tasks, [*tasks[1:], None], strict=True):
        answer = solver.solve(this, following)
        assert json.loads(answer.facts)["pruned"] == int(this["asked"].split()[1])
        assert len(answer.arrays) == n // 8 + 8 * n
    solver.end()


def test_a_task_that_overruns_is_ended_and_the_next_goes_on(solver: SolverProcess, small: Path, long: Path) -> None:
    facts = json.loads(solver.solve(task(long, "enumeration", "prune 10")).facts)
    assert (facts["status"], facts["reason"]) == ("failed", "time limit")
    assert "the time limit is 0.2 s" in facts["error"]
    assert json.loads(solver.solve(task(small)).facts)["status"] == "done"


def test_memory_that_is_refused(solver: SolverProcess, small: Path, tmp_path: Path) -> None:
    from benchmarks.batch.bad_blocks import make_bad

    make_bad(tmp_path, small)
    facts = json.loads(solver.solve(task(tmp_path / "enormous.npz")).facts)
    assert (facts["status"], facts["reason"]) == ("failed", "memory limit")
    assert "enormous.npz" in facts["error"]
    assert json.loads(solver.solve(task(small)).facts)["status"] == "done"


def test_memory_that_is_taken(solver: SolverProcess, small: Path, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    solver.limits = Limits(memory=1_000_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(solver_process, "resident", lambda process: 1_234_000_000)
        solver._prepared.add("enumeration")
        facts = json.loads(solver.solve(task(small, "magnitude")).facts)  # starting up it is over the limit, too
        if facts["status"] == "done":
            facts = json.loads(solver.solve(task(long, "enumeration", "prune 10")).facts)
    assert (facts["status"], facts["reason"]) == ("failed", "memory limit")
    assert "ended at 1234 MB; the memory limit is 1000 MB" in facts["error"]


def test_memory_is_looked_up() -> None:
    assert 1e6 < solver_process.resident(os.getpid()) < 1e11
    assert solver_process.resident(2**30) == 0


def test_two_deaths_at_one_task_are_its_failure(small: Path, long: Path) -> None:
    solver = SolverProcess(Limits())
    solver.solve(task(small, "enumeration"))
    killed: set[int] = set()

    def kill() -> None:
        while len(killed) < 2:
            process = solver._process
            if process is not None and process.pid not in killed and "enumeration" in solver._prepared:
                killed.add(process.pid)
                time.sleep(0.1)
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    facts = json.loads(solver.solve(task(long, "enumeration", "prune 10")).facts)
    killer.join()
    assert (facts["status"], facts["reason"]) == ("failed", "worker died")
    assert "by signal SIGKILL" in facts["error"]
    assert len(killed) == 2
    assert json.loads(solver.solve(task(small)).facts)["status"] == "done"
    solver.end()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("corrupt", "cannot be read"),
        ("nan", "entry (3, 4) is nan"),
        ("indefinite", "not positive definite"),
        ("zero-bytes", "not an npz archive"),
        ("small", "not what its manifest says"),
    ],
)
def test_bad_blocks_are_bad_input(lasting: SolverProcess, small: Path, tmp_path: Path, name: str, words: str) -> None:
    from benchmarks.batch.bad_blocks import make_bad

    make_bad(tmp_path, small, enormous=1)
    request = task(tmp_path / f"{name}.npz")
    if name == "small":
        make_block(small, seed=1)
    facts = json.loads(lasting.solve(request).facts)
    assert (facts["status"], facts["reason"]) == ("failed", "bad input")
    assert f"{name}.npz" in facts["error"]
    assert words in facts["error"]


def test_what_does_not_fit_the_method_is_bad_input(lasting: SolverProcess, small: Path) -> None:
    facts = json.loads(lasting.solve(task(small, asked="prune 10")).facts)
    assert (facts["status"], facts["reason"]) == ("failed", "bad input")
    assert facts["block"]["n"] == 9


def test_a_process_that_does_not_start_is_said(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver_process.sys, "executable", "/bin/false")
    solver = SolverProcess(Limits())
    with pytest.raises(SolverError, match="does not start"):
        solver.solve(task(small))
    solver.end()


def test_one_that_ended_for_want_of_work_is_replaced(solver: SolverProcess, small: Path) -> None:
    solver.solve(task(small))
    assert solver._process is not None
    solver._process.kill()
    solver._process.wait()
    assert json.loads(solver.solve(task(small)).facts)["status"] == "done"


def test_tasks_sent_ahead_are_answered_in_order(solver: SolverProcess, small: Path, long: Path, tmp_path: Path) -> None:
    """Also where one of them ends the process, and with it what was sent ahead."""
    other = make_block(tmp_path / "other.npz", 5, n=9)
    tasks = [task(small), task(other), task(long, "enumeration", "prune 10"), task(other, "greedy-obs"), task(small)]
    for number, message in enumerate(tasks):
        message["task"] = number
    answers = [solver.solve(one, ahead) for one, ahead in zip(tasks, [*tasks[1:], None], strict=True)]
    facts = [json.loads(answer.facts) for answer in answers]
    assert [answer.task for answer in answers] == [0, 1, 2, 3, 4]
    assert [fact["block"].get("name") for fact in facts] == ["small", "other", None, "other", "small"]
    assert [fact.get("reason") for fact in facts] == [None, None, "time limit", None, None]
