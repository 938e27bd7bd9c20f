"""Troubles of a store: each in one sentence, and nothing half written."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import store_records
from store_records import record

from cbs_opt.errors import StoreError
from cbs_opt.store import StoreWriter, open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


def version(path: Path, number: str) -> None:
    with StoreWriter(path) as writer:
        writer.write([record()])
    database = sqlite3.connect(path)
    database.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [number])
    database.execute("UPDATE meta SET value = '0.0.9' WHERE key = 'cbs_opt_version'")
    database.commit()
    database.close()


@pytest.mark.parametrize(("number", "remedy"), [("0", "start a new store"), ("2", "update cbs-opt")])
def test_another_schema_is_refused_and_left_alone(path: Path, number: str, remedy: str) -> None:
    version(path, number)
    before = path.read_bytes()
    for opening in (StoreWriter, open_store):
        with pytest.raises(StoreError, match=rf"version {number} .*cbs-opt 0\.0\.9.*version 1: {remedy}"):
            opening(path)
    assert path.read_bytes() == before


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to look like one " * 100)
    other = tmp_path / "other.sqlite"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE cats (name)")
    database.commit()
    database.close()
    before = text.read_bytes(), other.read_bytes()
    for opening in (StoreWriter, open_store):
        with pytest.raises(StoreError, match="not an SQLite database"):
            opening(text)
        with pytest.raises(StoreError, match="no store of `cbs-opt batch`"):
            opening(other)
    assert (text.read_bytes(), other.read_bytes()) == before
    with pytest.raises(StoreError, match="no such store"):
        open_store(tmp_path / "missing.sqlite")


def test_a_full_disk_loses_only_what_was_being_written(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.write([record("b0")])
        pages = writer._database.execute("PRAGMA page_count").fetchone()[0]
        writer._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="disk is full; what was written is safe"):
            writer.write([record(f"full{number}") for number in range(1000)])
        writer._database.execute("PRAGMA max_page_count = 100000")
        writer.write([record("after")])
    check_sound(path)
    with open_store(path) as store:
        names = [block.name for block in store.blocks()]
        assert names == ["b0", "after"]
        assert store.counts()["done"] == 2


def test_a_file_that_may_not_grow(path: Path) -> None:
    """The system's own limit of a file's size, in a process of its own."""
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from store_records import record\n"
        "from cbs_opt.errors import StoreError\n"
        "from cbs_opt.store import StoreWriter\n"
        "with StoreWriter(sys.argv[1]) as writer:\n"
        "    writer.write([record('b0')])\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "    try:\n"
        "        for number in range(5000): writer.write([record(f'b{number + 1}')])\n"
        "    except StoreError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, str(path), str(Path(store_records.__file__).parent)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "what was written is safe" in run.stdout
    check_sound(path)
    with StoreWriter(path) as writer:
        writer.write([record("after")])
    with open_store(path) as store:
        assert next(store.blocks()).name == "b0"


def test_a_read_only_store_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreWriter(path) as writer:
        writer.write([record()])
    before = path.read_bytes()
    path.chmod(0o444)
    if os.geteuid() == 0:  # permissions do not bind root
        monkeypatch.setattr(os, "access", lambda file, mode: Path(file) != path)
    with pytest.raises(StoreError, match="read-only"):
        StoreWriter(path)
    assert path.read_bytes() == before
    with open_store(path) as store:
        assert store.counts()["done"] == 1


def test_one_writer_at_a_time(path: Path) -> None:
    with StoreWriter(path) as writer:
        with pytest.raises(StoreError, match=rf"another batch writes to it \(process {os.getpid()} on .* since 20"):
            StoreWriter(path)
        writer.write([record()])
    with StoreWriter(path) as writer:
        assert writer.known(record().result.key) is not None


def test_a_store_made_for_nothing_is_removed(path: Path) -> None:
    def fail() -> None:
        with StoreWriter(path):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(path.parent.iterdir()) == []


def check_sound(path: Path) -> None:
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    (notes,) = database.execute("SELECT notes FROM results LIMIT 1").fetchone()
    assert json.loads(notes) == ["damped", "λ"]
    database.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("objective", -math.inf),
        ("bound", math.inf),
        ("objective", "abc"),
        ("options", "{"),
        ("notes", "x"),
        ("weights", b"1234567"),
        ("weights", "text"),
    ],
)
def test_damaged_rows_are_named(path: Path, column: str, value: object) -> None:
    with StoreWriter(path) as writer:
        writer.write([record("a")])
    with sqlite3.connect(path) as database:
        database.execute(f"UPDATE results SET {column} = ?", [value])
    database.close()
    with open_store(path) as store, pytest.raises(StoreError, match=rf"{path}: result 1 is damaged \("):
        list(store.results(arrays=True))


def test_results_that_wait_beside_the_file_are_not_left_out(path: Path) -> None:
    """A log that cannot be opened (here a folder) holds what was written last: the file alone would be an old store."""
    with StoreWriter(path) as writer:
        writer.write([record("a")])
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
    database.close()
    Path(f"{path}-wal").mkdir()
    (Path(f"{path}-wal") / "x").touch()
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(path)
