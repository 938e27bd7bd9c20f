"""The benchmark of formulations runs, records and writes its page. No timing is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def row(formulation: str, solver: str, **said: Any) -> dict[str, Any]:
    shared = {"part": "formulations", "instance": "gram 8, 2:4", "formulation": formulation, "class": "MIQP"}
    return {**shared, "solver": solver, **said}


def test_rows_are_recorded_and_replaced(tmp_path: Path) -> None:
    pytest.importorskip("pyscipopt")
    from benchmarks.formulations.command import main

    asked = ["--sizes", "8", "--families", "gram", "--out", str(tmp_path), "--time-limit", "20"]
    assert main([*asked, "--formulations", "joint-bigm,selection-linearized", "--solvers", "scip,highs"]) == 0
    assert main([*asked, "--formulations", "selection-linearized", "--solvers", "highs"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "formulations.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2 * 2 * 3
    ran = [found for found in rows if found.get("status") == "proven"]
    assert len(ran) == 2 * 3
    assert all(found["value"] == pytest.approx(1.0, abs=1e-6) for found in ran)
    assert all(found["bound"] == pytest.approx(1.0, abs=1e-3) for found in ran)
    impossible = [found for found in rows if found.get("status") == "not possible" and found["solver"] == "highs"]
    assert {found["formulation"] for found in impossible} == {"joint-bigm"}
    roots = [found["bound"] for found in rows if found["solver"] == "root" and found.get("bound") is not None]
    assert all(-1e-6 <= root <= 1 + 1e-6 for root in roots)
    assert "| selection-linearized | MILP | highs | 2/2 |" in (tmp_path / "formulations.md").read_text(encoding="utf-8")


def test_the_page_tells_stopped_from_proven_and_says_what_was_too_high(tmp_path: Path) -> None:
    from benchmarks.formulations.page import write_page

    took = {"nodes": 3, "seconds": 1.0, "cpu": 2.0, "time_limit": 5.0}
    rows = [
        row("joint-bigm", "root", bound=-1e-12),
        row("joint-sos1", "root", status="not possible"),
        row("joint-bigm", "scip", status="proven", bound=1.0, **took),
        row("joint-bigm", "highs", status="not possible", time_limit=5.0),
        row("joint-sos1", "scip", status="time limit", bound=0.25, **took),
        row("joint-sos1", "gurobi", status="bound too high", bound=1.1, **took),
    ]
    page = write_page(rows, tmp_path).read_text(encoding="utf-8")
    assert "| gram 8, 2:4 | 0.00 |  |" in page
    assert "| joint-bigm | MIQP | scip | 1/1 | 3 | 2 |  |  |" in page
    assert "| joint-sos1 | MIQP | scip | 0/1 | 3 | 2 | 0.25 |  |" in page
    assert "| joint-sos1 | MIQP | gurobi | 0/1 | 3 | 2 |  | 1 |" in page
    assert "| joint-bigm | MIQP | highs" not in page
    assert "| formulation | class | solver | proven | nodes | CPU s | bound where it was not | bound too high |" in page
