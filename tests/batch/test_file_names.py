"""Names of files that are no UTF-8: such a block is solved as any other, and every output can still be read."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest
from commandline import Cli, Run, make_block

from cbs_opt.blocks.manifest import ManifestBlock, line_of, write_manifest
from cbs_opt.kernel.block_file import content_of
from cbs_opt.kernel.text import as_path, as_text

ODD = os.fsdecode(b"bl\xff")


@pytest.fixture
def odd(folder: Path) -> Path:
    """The folder of blocks with one whose name is no UTF-8, and a broken one of the kind."""
    try:
        make_block(folder / f"{ODD}.npz", 7)
    except OSError:
        pytest.skip("this file system has names of UTF-8 only")
    (folder / f"broken{ODD}.npz").write_bytes(b"nothing")
    return folder


def batch(cli: Cli, blocks: Path, store: Path, *more: object) -> Run:
    return cli("batch", blocks, "--methods", "obd", "--sparsity", 0.5, "--jobs", 1, "--store", store, *more)


def test_text_of_a_name_and_back() -> None:
    assert as_text(ODD) == r"bl\xff"
    assert os.fsencode(as_path(as_text(ODD))) == b"bl\xff"
    assert as_text("λ\ud800") == r"λ\ud800"


def test_only_what_is_broken_fails(cli: Cli, odd: Path, tmp_path: Path) -> None:
    store = tmp_path / "results.sqlite"
    found = batch(cli, odd, store, "--json", tmp_path / "out.json")
    assert found.code == 1, found
    said = json.loads((tmp_path / "out.json").read_bytes().decode())
    assert (said["solved"], said["failed"]) == (8, 1)
    assert said["failures"][0]["file"] == str(odd / r"brokenbl\xff.npz")
    database = sqlite3.connect(store)
    rows = database.execute("SELECT file, status, error FROM blocks b JOIN results r ON r.block = b.id").fetchall()
    database.close()
    files = {file: (status, error) for file, status, error in rows}
    assert files[str(odd / r"bl\xff.npz")] == ("done", None)
    assert r"brokenbl\xff.npz: not an npz archive" in files[str(odd / r"brokenbl\xff.npz")][1]
    assert batch(cli, odd, store, "--json", "-").json()["solved"] == 0


def test_a_report_of_it(cli: Cli, odd: Path, tmp_path: Path) -> None:
    store = tmp_path / f"{ODD}.sqlite"
    assert batch(cli, odd, store).code == 1
    page, tables = tmp_path / "page.html", tmp_path / "tables"
    found = cli("report", store, "--html", page, "--csv", tables, "--json", tmp_path / "out.json")
    assert found.code == 0, found
    assert json.loads((tmp_path / "out.json").read_bytes().decode())["store"].endswith(r"bl\xff.sqlite")
    assert r"brokenbl\xff" in page.read_bytes().decode()
    assert r"brokenbl\xff" in (tables / "failures.csv").read_bytes().decode()


def test_a_manifest_in_a_folder_of_such_a_name(cli: Cli, odd: Path, tmp_path: Path) -> None:
    target = tmp_path / ODD
    target.mkdir()
    block = make_block(target / "b.npz", 3, n=6)
    entry = ManifestBlock("b.npz", content_of(block), "fc.weight", 0, 6, 0.01)
    facts = {
        "network": "toy",
        "weights": {},
        "partition": "rows",
        "curvature": "gram",
        "tensors": {"fc.weight": {"shape": [1, 6]}},
    }
    write_manifest(target / "manifest.json", facts, iter([line_of(entry)]))
    store = tmp_path / "results.sqlite"
    assert batch(cli, target, store).code == 0
    (network,) = cli("report", store, "--json", "-").json()["networks"]
    assert (network["network"], network["missing"]) == ("toy", "of 1 blocks 1 without a bound")


def test_the_other_commands(cli: Cli, odd: Path, tmp_path: Path) -> None:
    solved = cli("solve", odd / f"{ODD}.npz", "--sparsity", 0.5, "--method", "obd", "--json", tmp_path / "solve.json")
    assert solved.code == 0, solved
    compared = cli("compare", odd, "--sparsity", 0.5, "--methods", "obd", "--json", tmp_path / "compare.json")
    assert compared.code == 1, compared
    for name in ("solve", "compare"):
        json.loads((tmp_path / f"{name}.json").read_bytes().decode())
    study = ("study", "--methods", "obd", "--sparsity", 0.5, "--out", tmp_path / "out")
    ran = cli(*study[:1], odd, *study[1:])
    assert ran.code == 1, ran
    assert r"bl\xff" in (tmp_path / "out" / "results.csv").read_bytes().decode()
