"""The store: what goes in comes out, troubles in one sentence, nothing half written."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cbs_opt.errors import StoreError
from cbs_opt.store import (
    Block,
    Record,
    Result,
    StoreWriter,
    TracePoint,
    open_store,
    pack_mask,
    pack_weights,
    result_key,
    unpack_mask,
    unpack_weights,
)

N = 11


def record(
    name: str = "b0", method: str = "bnb", objective: float = 2.0, bound: float | None = 2.0, **changes: object
) -> Record:
    """A result of a block of 11 weights that keeps every third."""
    content = hashlib.sha256(name.encode()).hexdigest()
    mask, weights = np.arange(N) % 3 == 0, np.linspace(-1, 1, N)
    facts = {
        "key": result_key(content, method, "sparsity 0.6", None, {"gap": 1e-4}),
        "block": 0,
        "method": method,
        "asked": "sparsity 0.6",
        "seed": None,
        "options": {"gap": 1e-4},
        "status": "done",
        "solution_status": "optimal",
        "termination_condition": "convergenceCriteriaSatisfied",
        "objective": objective,
        "bound": bound,
        "gap": None,
        "selection_objective": 3.0,
        "selection_bound": bound,
        "round_off": 1e-12,
        "seconds": 0.25,
        "nodes": 7,
        "n": N,
        "pruned": 7,
        "notes": ("damped", "λ"),
        "finished": "2030-01-01T00:00:00",
    } | changes
    result = Result(**facts)  # type: ignore[arg-type]
    block = Block(content, name, f"/x/{name}.npz", N, "fc1.weight", 32, "/x/manifest.json", 9.0)
    if result.status == "failed":
        return Record(block, result)
    trace = (TracePoint(0.1, 3.0, None), TracePoint(0.2, 2.0, 1.5))
    return Record(block, result, pack_mask(mask), pack_weights(weights), trace, {"python": "3"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


def test_what_goes_in_comes_out(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.write([record()])
    with open_store(path) as store:
        (block,) = store.blocks()
        (result,) = store.results(arrays=True)
        assert (block.tensor, block.first, block.n, block.unit, block.manifest) == (
            "fc1.weight",
            32,
            N,
            9.0,
            "/x/manifest.json",
        )
        assert store.block(block.content) == block
        assert result.block == block.id
        assert result.mask is not None
        assert result.weights is not None
        assert result.mask.tolist() == [i % 3 == 0 for i in range(N)]
        assert result.weights.tolist() == np.linspace(-1, 1, N).tolist()
        assert (result.options, result.notes, result.attempts) == ({"gap": 1e-4}, ("damped", "λ"), 1)
        assert result.gap is None
        assert list(store.traces(result.id)) == [(result.id, point) for point in record().trace]
        assert store.environments() == {result.environment: {"python": "3"}}
        assert store.counts() == {"done": 1, "failed": 0}
        assert (store.methods(), store.asked()) == (["bnb"], ["sparsity 0.6"])
        assert next(store.results()).mask is None


@pytest.mark.parametrize("n", [1, 7, 8, 9, 64, 65])
def test_masks_and_weights_survive_packing(n: int) -> None:
    rng = np.random.default_rng(n)
    mask, weights = rng.random(n) < 0.5, rng.standard_normal(n)
    assert unpack_mask(pack_mask(mask), n).tolist() == mask.tolist()
    assert unpack_weights(pack_weights(weights)).tolist() == weights.tolist()
    assert pack_mask(np.array([True] + [False] * 8)) == b"\x01\x00", "the first weight in the lowest bit"


def test_plain_sqlite_reads_it(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.write([record()])
    assert [file.name for file in path.parent.iterdir()] == [path.name], "one file, when nobody works on it"
    database = sqlite3.connect(path)
    row = database.execute(
        "SELECT b.name, r.objective, json_extract(r.options, '$.gap') FROM results r JOIN blocks b ON b.id = r.block"
    ).fetchone()
    database.close()
    assert row == ("b0", 2.0, 1e-4)


def test_pandas_reads_it(path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    with StoreWriter(path) as writer:
        writer.write([record(), record("b1", method="magnitude", objective=4.0, bound=None)])
    database = sqlite3.connect(path)
    frame = pandas.read_sql("SELECT * FROM gaps", database)
    database.close()
    assert frame["gap"].tolist()[0] == 0.0
    assert frame["gap"].isna().tolist() == [False, True]


def test_gaps_are_to_the_best_bound_of_all_methods(path: Path) -> None:
    with StoreWriter(path) as writer:
        for method, objective, bound in (("bnb", 2.0, 1.9), ("magnitude", 4.0, None), ("highs-oa", 2.5, 2.0)):
            writer.write([record(method=method, objective=objective, bound=bound)])
    with open_store(path) as store:
        gaps = {gap.method: gap for gap in store.gaps()}
    assert {name: gap.bound for name, gap in gaps.items()} == {"bnb": 2.0, "magnitude": 2.0, "highs-oa": 2.0}
    assert {name: gap.gap for name, gap in gaps.items()} == {"bnb": 0.0, "magnitude": 0.5, "highs-oa": 0.2}
    assert not any(gap.broken for gap in gaps.values())


def test_a_bound_above_an_objective_is_broken(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.write([record(objective=2.0, bound=1.0), record(method="scip", objective=3.0, bound=2.1)])
    with open_store(path) as store:
        assert [gap.method for gap in store.gaps(broken=True)] == ["bnb"]


def test_a_bound_within_round_off_is_not_broken(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.write([record(objective=0.0, bound=-1e-13), record(method="scip", objective=0.0, bound=1e-13)])
    with open_store(path) as store:
        assert [(gap.gap, gap.broken) for gap in store.gaps()] == [(0.0, False)] * 2


def test_nothing_that_is_no_number_gets_in(path: Path) -> None:
    with StoreWriter(path) as writer, pytest.raises(ValueError, match="JSON"):
        writer.write([record(options={"gap": float("nan")})])


def test_a_result_is_replaced_and_counted(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.write([record(status="failed", reason="time limit", error="was ended", objective=None, mask=None)])
        writer.write([record()])
    with open_store(path) as store:
        (result,) = store.results()
        assert (result.status, result.reason, result.attempts) == ("done", None, 2)
        assert len(list(store.traces())) == 2


def test_a_group_is_written_whole_or_not_at_all(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.write([record("b0")])
        with pytest.raises(StoreError):
            writer.write([record("b1"), record("b2", status="odd")])
        writer.write([record("b3")])
    with open_store(path) as store:
        assert [block.name for block in store.blocks()] == ["b0", "b3"]
        assert len(list(store.results())) == 2


def test_a_block_that_becomes_readable_gets_its_facts(path: Path) -> None:
    with StoreWriter(path) as writer:
        bad = record(status="failed", reason="memory limit", error="too large", objective=None)
        writer.write([Record(Block(bad.block.content, "file", "/x/b0.npz"), bad.result)])
        writer.write([record()])
    with open_store(path) as store:
        (block,) = store.blocks()
        assert (block.name, block.n, block.unit) == ("b0", N, 9.0)


# ---------------------------------------------------------------- keys


def test_a_key_tells_apart_what_differs() -> None:
    one = ("aa", "bnb", "sparsity 0.5", None, {"gap": 1e-4})
    others = [
        ("ab", *one[1:]),
        ("aa", "cbs", *one[2:]),
        (*one[:2], "prune 5", None, {}),
        (*one[:3], 0, one[4]),
        (*one[:4], {"gap": 1e-3}),
        (*one[:4], {}),
    ]
    assert len({result_key(*what) for what in (one, *others)}) == len(others) + 1


def test_a_key_does_not_see_limits_nor_the_order_of_options() -> None:
    assert result_key("a", "m", "p", 1, {"x": 1, "y": 2}) == result_key(
        "a", "m", "p", 1, {"y": 2, "x": 1, "time_limit": 5.0}
    )


def test_a_key_sees_the_version_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    import cbs_opt.version

    monkeypatch.setattr(cbs_opt.version, "__version__", "1.2.3")
    first = result_key("a", "m", "p", None, {})
    monkeypatch.setattr(cbs_opt.version, "__version__", "1.2.4")
    assert result_key("a", "m", "p", None, {}) == first
    monkeypatch.setattr(cbs_opt.version, "__version__", "1.3.0")
    assert result_key("a", "m", "p", None, {}) != first


# ---------------------------------------------------------------- troubles


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
        "from test_store import record\n"
        "from cbs_opt.errors import StoreError\n"
        "from cbs_opt.store import StoreWriter\n"
        "with StoreWriter(sys.argv[1]) as writer:\n"
        "    writer.write([record('b0')])\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "    try:\n"
        "        for number in range(5000): writer.write([record(f'b{number + 1}')])\n"
        "    except StoreError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, str(path), str(Path(__file__).parent)]
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


def test_readers_come_and_go_while_a_batch_writes(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.write([record("b0"), record("b1")])
        with open_store(path) as store:
            reading = store.results()
            next(reading)
            writer.write([record("b2")])
            assert len(list(reading)) == 1, "as it was when the reading began"
            assert store.counts()["done"] == 3
    with open_store(path) as store:
        assert store.counts()["done"] == 3


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
