"""The benchmark of exact engines runs, writes its tables, and lets no contradiction pass. No timing is asserted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cbs_opt
from cbs_opt.errors import BoundViolationError

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str) -> int:
    from benchmarks.exact.command import main

    return main(["--out", str(folder), "--time-limit", "5", "--repeat", "1", "--no-cold", *arguments])


GRID = ("--sizes", "8", "--dampings", "1e-2", "--sparsities", "0.5")


def test_the_families_are_run_and_written(tmp_path: Path) -> None:
    assert run(tmp_path, *GRID, "--methods", "bnb,enumeration", "--against", "enumeration") == 0
    everything = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [row["engine"] for row in everything["summary"]] == ["bnb", "enumeration"]
    assert everything["summary"][0]["compared"] == 4
    assert everything["setting"]["numpy"] == np.__version__
    with (tmp_path / "results.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["family"] for row in rows} == {"gram", "fisher", "correlated", "duplicates"}
    assert {row["status"] for row in rows} == {"optimal"}
    assert "| bnb | 4/4 |" in (tmp_path / "results.md").read_text(encoding="utf-8")


def test_a_folder_of_blocks_is_run_at_its_own_prune_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 6))
    problem = cbs_opt.PruningProblem(rng.normal(size=6), X.T @ X / 20 + 0.1 * np.eye(6))
    optimum = cbs_opt.solve(problem.pruning(4), "enumeration").objective
    H = problem.curvature.dense()
    blocks = tmp_path / "blocks"
    blocks.mkdir()
    np.savez(blocks / "known.npz", H=H, w=problem.w_bar, prune=[4], optimum=[optimum])
    np.savez(blocks / "unknown.npz", H=H, w=problem.w_bar)
    files = ("--blocks", str(blocks), "--families", "", "--sparsities", "0.5")
    assert run(tmp_path / "out", *files, "--methods", "bnb") == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["results"]
    assert [row["pruned"] for row in rows] == [4, 3]
    np.savez(blocks / "known.npz", H=H, w=problem.w_bar, prune=[4], optimum=[0.9 * optimum])
    with pytest.raises(BoundViolationError, match="the stored optimum"):
        run(tmp_path / "out", *files, "--methods", "bnb")


def test_engines_that_contradict_each_other_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.exact import measure

    honest = measure.solve

    def boastful(problem: Any, name: str, **options: Any) -> Any:
        solution = honest(problem, name, **options)
        object.__setattr__(solution, "bound", solution.bound * (1.01 if name == "bnb" else 1.0))
        return solution

    monkeypatch.setattr(measure, "solve", boastful)
    with pytest.raises(BoundViolationError, match="bnb proved"):
        run(tmp_path, *GRID, "--families", "gram", "--methods", "bnb,enumeration")


def test_an_engine_that_cannot_is_a_row_not_a_crash(tmp_path: Path) -> None:
    assert run(tmp_path, *GRID, "--families", "gram", "--methods", "bnb,pyomo:highs", "--against", "bnb") == 0
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "HiGHS takes no quadratic objective" in page


def test_engines_are_read_with_their_options() -> None:
    from benchmarks.exact.measure import Engine

    assert Engine.parse("bnb").method == "bnb"
    assert Engine.parse("pyomo:gurobi_direct").method == "pyomo:gurobi_direct"
    perspective = Engine.parse("gurobi:formulation=joint-perspective")
    assert perspective.method == "gurobi"
    assert perspective.told(3.0, 1e-4) == {"time_limit": 3.0, "gap": 1e-4, "formulation": "joint-perspective"}


def test_the_same_seed_makes_the_same_blocks() -> None:
    from benchmarks.exact.families import FAMILIES, instances

    one, other = (list(instances(list(FAMILIES), [6], [1e-3], [0.5], [7])) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.problem.curvature.dense(), b.problem.curvature.dense())


def test_ratios_count_where_one_of_the_two_proved_it() -> None:
    from benchmarks.exact.measure import Record
    from benchmarks.exact.summary import geometric_mean, ratios

    def record(instance: str, engine: str, seconds: float | None, status: str) -> Record:
        return Record(instance, "gram", 8, 4, engine, 99.0, seconds, 1, 1.0, 1.0, 0.0, status, 1)

    rows = [
        record("a", "mine", 1.0, "optimal"),
        record("a", "ref", 16.0, "optimal"),
        record("b", "mine", 2.0, "optimal"),
        record("b", "ref", 60.0, "time limit"),
        record("c", "mine", 60.0, "time limit"),
        record("c", "ref", 60.0, "time limit"),
        record("d", "mine", 4.0, "optimal"),
        record("d", "ref", None, "failed: licence"),
    ]
    found = ratios(rows, "mine", "ref")
    assert [(row["instance"], row["ratio"], row["sign"]) for row in found] == [("a", 16.0, ""), ("b", 30.0, "≥")]
    assert geometric_mean([4.0, 9.0]) == pytest.approx(6.0)
