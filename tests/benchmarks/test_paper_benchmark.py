"""The benchmark of the paper's tables: chooses on validation images, resumes from its log, writes what the log says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str) -> int:
    from benchmarks.paper.command import main

    return main(["--network", "digits", "--out", str(folder), *arguments])


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "digits.jsonl").read_text(encoding="utf-8").splitlines()]


def made_up(row: str, seed: int, accuracy: float, **other: Any) -> dict[str, Any]:
    return {
        "network": "digits",
        "row": row,
        "sparsity": 0.8,
        "seed": seed,
        "chosen": {"damping": 0.01},
        "test": True,
        "accuracy": accuracy,
        "accuracy_without_update": 0.5,
        "accuracy_dense": 0.96,
        "gap": None,
        **other,
    }


def test_digits_run_from_choice_to_table_and_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("--rows", "fisher relaxation,layers greedy-obs", "--sparsities", "0.8", "--seeds", "1")
    assert run(tmp_path, *asked) == 0
    entries = logged(tmp_path)
    assert [entry["test"] for entry in entries] == [False, False, True, True]
    tried = {entry["chosen"]["damping"]: entry["accuracy"] for entry in entries if not entry["test"]}
    final, layers = (entry for entry in entries if entry["test"])
    assert tried[final["chosen"]["damping"]] == max(tried.values())
    assert 0 <= final["gap"] < 1
    assert layers["gap"] is None
    assert {entry["pruned"] for entry in entries} == {2176}
    page = (tmp_path / "digits.md").read_text(encoding="utf-8")
    assert f"| layers greedy-obs | {100 * layers['accuracy']:.2f} (1) |" in page
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")

    from benchmarks.paper import command

    monkeypatch.setattr(command, "measure", lambda *_, **__: pytest.fail("everything is in the log"))
    assert run(tmp_path, *asked) == 0
    assert logged(tmp_path) == entries


def test_tables_show_mean_spread_and_what_was_quoted(tmp_path: Path) -> None:
    rows = [made_up("fisher relaxation", seed, a, gap=g) for seed, a, g in ((0, 0.90, 0.002), (1, 0.94, 0.004))]
    validation = {**made_up("fisher relaxation", 2, 0.1), "test": False}
    (tmp_path / "digits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, validation]))
    assert run(tmp_path, "--table-only") == 0
    page = (tmp_path / "digits.md").read_text(encoding="utf-8")
    assert "Dense: 96.00." in page
    spread = np.std([90, 94], ddof=1)
    assert f"| fisher relaxation | 92.00 ± {spread:.2f} (2) | – |" in page
    assert "| fisher relaxation | 50.00 ± 0.00 (2) | – |" in page
    assert f"| fisher relaxation | 42.00 ± {spread:.2f} (2) | – |" in page  # what the update adds
    assert f"| fisher relaxation | 0.300 ± {np.std([0.2, 0.4], ddof=1):.2f} (2) | – |" in page
    assert "| fisher relaxation | damping 0.01 | – |" in page


@pytest.mark.parametrize("network", ["mlpnet", "resnet20"])
def test_quoted_figures_stand_in_the_table_of_an_empty_log(tmp_path: Path, network: str) -> None:
    from benchmarks.paper.rows import QUOTED, SPARSITIES
    from benchmarks.paper.table import write_tables

    page = write_tables(network, [], tmp_path).read_text(encoding="utf-8")
    for name, values in QUOTED[network].items():
        assert len(values) == len(SPARSITIES[network])
        assert f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) in page


def test_validation_images_are_cut_from_the_training_images() -> None:
    from benchmarks.paper.runs import Subject

    subject = Subject.load("digits", None)
    held = subject.validation
    assert np.array_equal(np.concatenate([held.train_x, held.test_x]), subject.data.train_x)
    assert len(held.test_y) == round(len(subject.data.train_y) / 6)


def test_what_cannot_be_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--rows", "no such row") == 2
    assert "there are fisher relaxation, layers greedy-obs" in capsys.readouterr().err
    from benchmarks.paper.command import main

    with pytest.raises(SystemExit, match="2"):
        main(["--network", "mlpnet", "--out", str(tmp_path)])
    assert "--data: name the folder" in capsys.readouterr().err
