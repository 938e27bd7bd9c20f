"""The store: what goes in comes out."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from store_records import N, record

from cbs_opt.errors import StoreError
from cbs_opt.store import (
    Block,
    Record,
    StoreWriter,
    open_store,
    pack_mask,
    pack_weights,
    unpack_mask,
    unpack_weights,
)


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
