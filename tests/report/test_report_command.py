"""`cbs-opt report` as people run it."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path

import pytest
from commandline import Cli
from made_store import block, done, failed, large_store, write_store

TABLES = {"results", "summary", "networks", "layers", "profiles", "curves", "sizes", "failures", "broken_bounds"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    a, b = block("a"), block("b")
    return write_store(
        tmp_path / "results.sqlite",
        [
            done(a, "exact", 2.0, 2.0),
            done(a, "quick", 2.5),
            done(b, "quick", 1.0),
            failed(b, "exact", "memory limit", "needed more than 512 MiB"),
        ],
    )


def test_the_terminal(cli: Cli, store: Path) -> None:
    ran = cli("report", store)
    assert ran.code == 0
    assert ran.err == ""
    for words in ("2 blocks", "3 results, 1 failed", "sparsity 0.5", "20.0 %", "memory limit", "needed more than"):
        assert words in ran.out


def test_a_store_without_results_is_said_and_is_no_error(cli: Cli, tmp_path: Path) -> None:
    empty = write_store(tmp_path / "empty.sqlite", [])
    ran = cli("report", empty)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("There are no results in this store yet.") == 1
    assert cli("report", empty, "--json", "-").json()["results"] == 0


def test_json(cli: Cli, store: Path) -> None:
    ran = cli("report", store, "--json", "-")
    found = ran.json()
    assert (found["blocks"], found["done"], found["failed"], found["reasons"]) == (2, 3, 1, {"memory limit": 1})
    (exact,) = [line for line in found["summaries"] if line["method"] == "exact"]
    assert (exact["proven"], exact["proven_share"]) == (1, 0.5)


def test_csv(cli: Cli, store: Path, tmp_path: Path) -> None:
    assert cli("report", store, "--csv", tmp_path / "new" / "tables").code == 0
    files = {file.stem: file for file in (tmp_path / "new" / "tables").glob("*.csv")}
    assert set(files) == TABLES
    with files["results"].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["block"], row["method"], row["gap"], row["proven"]) for row in rows] == [
        ("a", "exact", "0.0", "true"),
        ("a", "quick", "0.2", "false"),
        ("b", "quick", "", "false"),
        ("b", "exact", "", "false"),
    ]
    assert rows[3]["reason"] == "memory limit"


def test_parquet_holds_the_same(cli: Cli, store: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cli("report", store, "--parquet", tmp_path / "tables").code == 0
    assert {file.stem for file in (tmp_path / "tables").glob("*.parquet")} == TABLES
    rows = parquet.read_table(tmp_path / "tables" / "results.parquet").to_pylist()
    assert [row["gap"] for row in rows] == [0.0, pytest.approx(0.2), None, None]
    assert [row["done"] for row in rows] == [True, True, True, False]


def test_without_pyarrow(cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbs_opt.report.files.find_spec", lambda name: None)
    cli("report", store, "--parquet", tmp_path / "tables").refused("pyarrow", "cbs-opt[report]")


def test_html(cli: Cli, store: Path, tmp_path: Path) -> None:
    assert cli("report", store, "--html", tmp_path / "report.html").code == 0
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_broken_bound_is_shouted(cli: Cli, tmp_path: Path) -> None:
    a = block("a")
    file = write_store(tmp_path / "results.sqlite", [done(a, "liar", 3.0, 3.0), done(a, "quick", 2.0)])
    ran = cli("report", file)
    assert ran.code == 1
    assert "BROKEN BOUNDS" in ran.out
    assert ran.err.startswith("error: ")
    ran = cli("report", file, "--json", "-")
    assert ran.code == 1
    assert json.loads(ran.out)["broken_bounds"][0]["prover"] == "liar"


def test_names_command_no_terminal(cli: Cli, tmp_path: Path) -> None:
    fallen = failed(block("\x1b[2Jgone\x07"), "m\x1b[31m", "error", "\x1b]0;title\x07 fell [bold]over[/]")
    file = write_store(tmp_path / "results.sqlite", [fallen])
    ran = cli("report", file)
    assert "\x1b" not in ran.out
    assert "[bold]over[/]" in ran.out


class TestRefused:
    def test_no_such_store(self, cli: Cli, tmp_path: Path) -> None:
        cli("report", tmp_path / "none.sqlite").refused("none.sqlite")

    def test_another_file(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "text.sqlite").write_text("not a database at all, whatever its name", encoding="utf-8")
        cli("report", tmp_path / "text.sqlite").refused("text.sqlite")

    def test_another_version(self, cli: Cli, store: Path) -> None:
        database = sqlite3.connect(store)
        with database:
            database.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
        database.close()
        cli("report", store).refused("99")

    def test_the_store_is_not_overwritten(self, cli: Cli, store: Path) -> None:
        cli("report", store, "--html", store).refused("input")

    def test_a_file_where_a_folder_is_needed(self, cli: Cli, store: Path) -> None:
        cli("report", store, "--csv", store).refused("results.sqlite", "folder")

    def test_no_folder_for_the_page(self, cli: Cli, store: Path, tmp_path: Path) -> None:
        cli("report", store, "--html", tmp_path / "none" / "report.html").refused("none")


def test_a_large_store(cli: Cli, tmp_path: Path) -> None:
    ran = cli("report", large_store(tmp_path, blocks=300), "--html", tmp_path / "report.html", "--json", "-")
    found = ran.json()
    assert found["results"] == 1_800
    assert {line["network"] for line in found["networks"]} == {"resnet-toy"}
    whole = [line for line in found["networks"] if line["asked"] == "sparsity 0.5" and line["method"] == "bnb"]
    assert whole[0]["gap"] == pytest.approx(0.0, abs=1e-12)
    assert all(line["gap"] is None for line in found["networks"] if line["asked"] == "sparsity 0.8")
