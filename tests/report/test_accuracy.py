"""Accuracy beside the gaps: of the networks that a manifest alone can load, with each method's answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commandline import Cli
from extracted import solve_into

import cbs_opt
from cbs_opt.blocks.manifest import load_manifest
from cbs_opt.network.data import digits_data
from cbs_opt.network.load import load_network
from cbs_opt.report.accuracy import with_accuracy
from cbs_opt.report.build import build_report
from cbs_opt.store import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accuracy")
    words = {"targets": ["fc3"], "samples": 50, "partition": 16, "network": "digits"}
    cut = cbs_opt.extract(load_network("digits"), digits_data(), folder / "b", **words)
    plan = load_manifest(cut.manifest)
    solve_into(folder / "r.sqlite", plan, ["magnitude", "swap"], "prune 14")
    solve_into(folder / "r.sqlite", plan, ["magnitude"], "prune 4", plan.blocks[:3])
    return folder / "r.sqlite"


def test_it_is_that_of_the_network_with_the_methods_answers(store: Path) -> None:
    import torch

    with open_store(store) as opened:
        report = with_accuracy(build_report(opened))
    data = digits_data()
    measured = {(line.method, line.asked): line for line in report.network_gaps}
    for method in ("magnitude", "swap"):
        found = cbs_opt.assemble(store.with_name("b"), store, load_network("digits"), method=method, asked="prune 14")
        with torch.no_grad():
            right = found.model(torch.from_numpy(data.test_x)).argmax(1).numpy() == data.test_y
        assert measured[method, "prune 14"].accuracy == right.mean()
        assert measured[method, "prune 14"].accuracy_dense == pytest.approx(0.967, abs=1e-3)
    assert measured["magnitude", "prune 4"].accuracy is None  # seven blocks have no answer
    assert report.not_measured == ()


def test_it_stands_in_page_table_and_json_where_it_is_asked_for(cli: Cli, store: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    run = cli("report", store, "--accuracy", "--html", page)
    assert "dense accuracy 96.7 %" in run.out
    assert "accuracy (dense 96.7 %)" in page.read_text(encoding="utf-8")
    lines = json.loads(cli("report", store, "--accuracy", "--json", "-").out)["networks"]
    assert all((line["accuracy"] is not None) == (line["asked"] == "prune 14") for line in lines)
    assert "dense accuracy" not in cli("report", store).out


def test_a_network_that_needs_code_is_named_and_not_loaded(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    folder.mkdir()
    plan = json.loads((store.with_name("b") / "manifest.json").read_text())
    for file in store.with_name("b").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**plan, "network": "no_such_module:net"}))
    solve_into(tmp_path / "r.sqlite", load_manifest(folder), ["magnitude"], "prune 14")
    with open_store(tmp_path / "r.sqlite") as opened:
        report = with_accuracy(build_report(opened))
    (note,) = report.not_measured
    assert "its accuracy was not measured (a report loads networks of this package only" in note
    assert note in report.notes
