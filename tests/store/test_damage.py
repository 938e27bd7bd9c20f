"""A store that something else wrote to: one sentence that says what is damaged, never a wrong table."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from commandline import Cli, Run, make_block

from cbs_opt.store import open_store
from cbs_opt.store.reader import ARRAYS, BLOCK_COLUMNS, RESULT_COLUMNS

KEYS = {"id"}  # SQLite itself lets nothing but whole numbers in


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one block and two methods, with a trace."""
    from cbs_opt.batch import Asked, Settings, run_batch

    folder = tmp_path_factory.mktemp("whole")
    make_block(folder / "b.npz", n=6)
    asked = (Asked("sparsity", "0.5"),)
    store = str(folder / "s.sqlite")
    run_batch(Settings(blocks=(str(folder / "b.npz"),), methods=("obd", "magnitude"), asked=asked, store=store, jobs=1))
    edit(Path(store), "INSERT INTO traces VALUES (1, 0.5, 2.0, 1.0)")
    return folder


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    target = tmp_path / "s.sqlite"
    target.write_bytes((whole / "s.sqlite").read_bytes())
    return target


def edit(store: Path, change: str, *values: object) -> None:
    database = sqlite3.connect(store, isolation_level=None)
    database.execute("PRAGMA ignore_check_constraints = 1")
    database.execute("PRAGMA writable_schema = 1")
    database.execute(change, values)
    database.close()


def batch(cli: Cli, whole: Path, store: Path, *more: object) -> Run:
    words = ("--methods", "obd,magnitude", "--sparsity", 0.5, "--jobs", 1, "--store", store)
    return cli("batch", whole / "b.npz", *words, *more)


@pytest.mark.parametrize("value", ["abc", b"\xff\x00", -1], ids=str)
@pytest.mark.parametrize("column", sorted({*RESULT_COLUMNS, *ARRAYS} - KEYS))
def test_every_column_of_a_result(store: Path, column: str, value: object) -> None:
    edit(store, f"UPDATE results SET {column} = ? WHERE id = 1", value)
    with open_store(store) as opened:
        (stored,) = opened._database.execute(f"SELECT {column} FROM results WHERE id = 1").fetchone()
        if (isinstance(stored, str) and column in TEXTS) or (stored == -1 and column in REALS):
            assert len(list(opened.results(arrays=True))) == 2  # any text is a reason, and −1 a number
            return
        with pytest.raises(Exception, match=rf"s\.sqlite: result 1 is damaged \(.*{column}|Expecting value"):
            list(opened.results(arrays=True))


TEXTS = {"key", "method", "asked", "status", "reason", "error", "solution_status", "termination_condition", "finished"}
REALS = {"objective", "bound", "gap", "selection_objective", "selection_bound", "selection_gap", "round_off", "seconds"}


@pytest.mark.parametrize("column", sorted({*BLOCK_COLUMNS} - KEYS))
def test_every_column_of_a_block(cli: Cli, store: Path, column: str) -> None:
    edit(store, f"UPDATE blocks SET {column} = ?", b"\xff\x00")
    cli("report", store).refused(f"{store}: block 1 is damaged ({column} is ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE results SET block = 'abc'", "result 1 is damaged (block is 'abc')"),
        ("UPDATE results SET objective = NULL", "result 1 is damaged (objective is None)"),
        ("UPDATE results SET options = '[1]'", "result 1 is damaged (options is '[1]')"),
        ("UPDATE results SET notes = '[1]'", "result 1 is damaged (notes is '[1]')"),
        (f"UPDATE results SET notes = '{'[' * 5000}'", "result 1 is damaged"),
        ("UPDATE environments SET content = '[]'", "environment 1 is damaged (content is '[]')"),
        ("UPDATE environments SET content = '{\"cbs-opt\": 1}'", "environment 1 is damaged"),
        ("UPDATE traces SET seconds = 'abc'", "a trace of result 1 is damaged (seconds is 'abc')"),
        ("UPDATE traces SET bound = x'00'", "a trace of result 1 is damaged (bound is "),
        ("UPDATE sqlite_master SET name = CAST(x'ff41ff' AS TEXT)", "is damaged; recover it"),
        ("UPDATE sqlite_master SET sql = 'garbage' WHERE name = 'results'", "is damaged; recover it"),
        (f"UPDATE meta SET value = '{'9' * 5000}' WHERE key = 'schema_version'", "does not say which version"),
    ],
)
def test_a_report_says_what_is_damaged(cli: Cli, store: Path, change: str, said: str) -> None:
    edit(store, change)
    cli("report", store).refused(f"{store}: {said}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE results SET gap = 'abc'", "result 1 is damaged (gap is 'abc')"),
        ("UPDATE results SET objective = 'abc'", "result 1 is damaged (objective is 'abc')"),
        ("UPDATE results SET options = '{'", "result 1 is damaged"),
        ('UPDATE results SET options = \'{"time_limit": "x"}\'', "result 1 is damaged (options: time_limit is 'x')"),
        ("UPDATE sqlite_master SET name = CAST(x'ff41ff' AS TEXT)", "is damaged; recover it"),
    ],
)
def test_a_batch_says_what_is_damaged(cli: Cli, whole: Path, store: Path, change: str, said: str) -> None:
    edit(store, change)
    for more in ((), ("--dry-run",)):
        batch(cli, whole, store, *more).refused(f"{store}: {said}")


def test_a_bound_is_not_judged_by_a_damaged_objective(cli: Cli, whole: Path, store: Path) -> None:
    """The result is of a question that the batch does not ask, so that its damage shows up at the end only."""
    edit(store, "UPDATE results SET asked = 'prune 1', key = 'x', bound = 9.0, objective = 'abc' WHERE id = 1")
    found = batch(cli, whole, store)
    assert found.code == 2, found
    last = found.err.splitlines()[-1]
    assert last == (
        f"error: {store}: result 1, or another on its block, is damaged (objective is 'abc'); start a new store"
    )


def test_sums_that_no_number_can_hold(cli: Cli, whole: Path, store: Path) -> None:
    edit(store, "UPDATE results SET objective = 1.7e308, bound = -1.7e308")
    edit(store, "INSERT INTO blocks (content, name, file, n) SELECT 'other', 'o', 'o.npz', n FROM blocks")
    columns = ", ".join(name for name in RESULT_COLUMNS + ARRAYS if name not in ("id", "key", "block"))
    edit(store, f"INSERT INTO results (key, block, {columns}) SELECT key || 'o', 2, {columns} FROM results")
    found = cli("report", store, "--json", "-")
    assert found.code == 0, found
    assert all(network["gap"] is None for network in found.json()["networks"])
