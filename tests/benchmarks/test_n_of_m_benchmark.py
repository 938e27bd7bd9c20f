"""The benchmark of N:M blocks runs, records and writes its page. No timing is asserted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cbs_opt


def row(instance: str, engine: str, **said: Any) -> dict[str, Any]:
    """A row of a 2:4 block."""
    fixed = {"part": "n-of-m", "pattern": "2:4", "instance": instance, "family": "gram", "n": 32, "pruned": 16}
    rest = {"seconds": 1.0, "cpu": 1.0, "nodes": 1, "objective": 2.0, "bound": 2.0, "gap": 0.0, "repetitions": 1}
    return {**fixed, "engine": engine, "status": "optimal", **rest, **said}


def test_blocks_and_families_are_measured_and_replaced(tmp_path: Path) -> None:
    pytest.importorskip("gurobipy")
    from benchmarks.exact.n_of_m.command import main

    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 12))
    blocks = tmp_path / "blocks"
    blocks.mkdir()
    problem = cbs_opt.PruningProblem(rng.normal(size=12), X.T @ X / 30, name="twelve")
    problem.save(blocks / "twelve.npz")  # 8 does not divide it
    asked = ["--sizes", "8", "--dampings", "1e-2", "--repeat", "1", "--out", str(tmp_path)]
    assert main([*asked, "--families", "gram,fisher", "--blocks", str(blocks)]) == 0
    assert main([*asked, "--families", "gram"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "n_of_m.jsonl").read_text(encoding="utf-8").splitlines()]
    names = {row["instance"] for row in rows}
    assert len(names) == 2 * 2 + 1
    assert len(rows) == 4 * len(names)
    assert {row["status"] for row in rows} == {"optimal"}
    (ours,) = (row for row in rows if row["instance"] == "twelve, 2:4" and row["engine"] == "bnb")
    (theirs,) = (row for row in rows if row["instance"] == "twelve, 2:4" and row["engine"] == "gurobi")
    pattern = cbs_opt.Quotas.n_of_m(12, 2, 4)
    optimum = cbs_opt.solve(problem.within(pattern), "enumeration").objective
    scale = ours["objective"] / optimum
    assert np.log2(scale) == pytest.approx(round(np.log2(scale)), abs=1e-9)
    assert theirs["objective"] == pytest.approx(ours["objective"], rel=1e-9)
    page = (tmp_path / "n_of_m.md").read_text(encoding="utf-8")
    assert "## Generated blocks" in page
    assert "| 2:4 | 12 | 1 | 1 | 1 |" in page


def test_a_block_is_scaled_without_a_digit_lost() -> None:
    from benchmarks.exact.n_of_m.measure import scaled

    problem = cbs_opt.PruningProblem(np.array([1.0, 2.0]), 1e-7 * np.eye(2))
    larger = scaled(problem)
    assert 700 < larger.objective(np.zeros(2)) < 1500
    assert np.frexp(larger.curvature.diagonal()[0] / problem.curvature.diagonal()[0])[0] == 0.5


def test_a_wrong_answer_of_gurobi_is_called_so() -> None:
    from benchmarks.exact.measure import Record
    from benchmarks.exact.n_of_m.measure import _checked

    ours = Record("a", "gram", 8, 4, "bnb", 1.0, 1.0, 1, 2.0, 2.0, 0.0, "optimal", 1)
    theirs = replace(ours, engine="gurobi")
    assert _checked(theirs, ours).status == "optimal"
    assert _checked(replace(theirs, objective=2.1), ours).status == "wrong"
    assert _checked(replace(theirs, objective=2.1, status="time limit"), ours).status == "time limit"
    assert _checked(replace(theirs, bound=2.1, status="time limit"), ours).status == "wrong"


def test_the_page_compares_both_clocks_of_gurobi(tmp_path: Path) -> None:
    from benchmarks.exact.n_of_m.page import write_page

    rows = [
        row("a", "bnb", cpu=0.5),
        row("a", "gurobi", cpu=4.0),
        row("a", "gurobi with its model", cpu=8.0),
        row("a", "lower_bound", cpu=0.25, gap=0.5, status="unproven", objective=None),
        row("b", "bnb", cpu=0.5),
        row("b", "gurobi", cpu=1.0, status="time limit", bound=1.0),
        row("b", "gurobi with its model", cpu=2.0, status="time limit", bound=1.0),
        row("b", "lower_bound", cpu=0.25, gap=0.0),
        row("c", "bnb", cpu=0.5),
        row("c", "gurobi", cpu=0.25, status="wrong", objective=3.0),
        row("c", "gurobi with its model", cpu=2.0, status="wrong", objective=3.0),
        row("c", "lower_bound", cpu=0.25, gap=0.0),
    ]
    page = write_page(rows, tmp_path).read_text(encoding="utf-8")
    # Ratios 8, at least 2 and at least ½; with the model 16, at least 4 and at least 4.
    assert "| 2:4 | 32 | 3 | 3 | 1 | 0.5 | 1 | 2 | ≥0.5 | 6.35 | ≥4 | 0 % | 0.25 |" in page
    assert "bnb slower on 1 of 3" in page
    assert "- c: 3, bound 2" in page
    assert "`lower_bound` stays more than 1e-4 below on 1 blocks" in page
    assert "| a | 50 % | 0.25 |" in page
