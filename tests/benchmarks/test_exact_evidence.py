"""What the evidence programs record: rows and page of a small run. No timing is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def test_a_part_replaces_its_own_rows_only(tmp_path: Path) -> None:
    from benchmarks.exact.evidence.command import main

    other = {
        "part": "memory",
        "instance": "block",
        "seconds": 60.0,
        "nodes": 5,
        "objective": 2.0,
        "bound": 1.0,
        "gap": 0.5,
        "status": "feasible",
        "termination": "maxTimeLimit",
        "peak_bytes": 2**28,
    }
    (tmp_path / "exact.jsonl").write_text(json.dumps(other) + "\n", encoding="utf-8")
    for count in ("3", "4"):
        assert main(["fuzz", "--count", count, "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "exact.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["part"], row.get("engine"), row.get("blocks")) for row in rows] == [
        ("memory", None, None),
        ("fuzz", "bnb", 4),
        ("fuzz", "bnb-selection", 4),
    ]
    page = (tmp_path / "exact.md").read_text(encoding="utf-8")
    assert "| bnb | 4 | 0 |" in page
    assert "256 MiB" in page


def test_bounds_that_are_wrong_are_counted(tmp_path: Path) -> None:
    from benchmarks.exact.evidence.page import write_page

    row = {
        "part": "bounds",
        "kind": "factors",
        "engine": "bnb",
        "blocks": 5,
        "first_seed": 0,
        "refused": 1,
        "weak": ["seed 3: 1 below 2"],
        "violations": ["seed 1: 2 above 1", "seed 2: ValueError: no"],
    }
    assert "| factors | bnb | 5 | 2 | 1 | 1 |" in write_page([row], tmp_path).read_text(encoding="utf-8")


def test_a_bound_above_the_optimum_by_one_bit_is_wrong() -> None:
    import numpy as np

    from benchmarks.exact import rounding

    drawn = rounding.case(3, True)
    assert drawn is not None
    best = drawn.optima()[0]
    below = float(best) if float(best) <= best else float(np.nextafter(float(best), -np.inf))
    for value, verdict in ((below, ""), (float(np.nextafter(below, np.inf)), "wrong")):
        rounding.BOUNDS["bnb"] = (lambda _, value=value: value, 0, 1)
        assert rounding.judged("bnb", drawn, best)[0] == verdict


def test_agreement_counts_proofs_and_contradictions(tmp_path: Path) -> None:
    from benchmarks.exact.evidence.page import write_page

    def row(instance: str, engine: str, objective: float, bound: float, status: str) -> dict[str, Any]:
        return {
            "part": "agreement",
            "time_limit": 5.0,
            "instance": instance,
            "family": "gram",
            "n": 20,
            "pruned": 9,
            "engine": engine,
            "seconds": 1.0,
            "cpu": 1.0,
            "nodes": 1,
            "objective": objective,
            "bound": bound,
            "gap": 0.0,
            "status": status,
            "repetitions": 1,
        }

    rows = [
        row("a", "bnb", 1.0, 1.0, "optimal"),
        row("a", "scip", 1.00005, 1.0, "optimal"),
        row("b", "bnb", 1.0, 1.0, "optimal"),
        row("b", "scip", 1.1, 1.0, "optimal"),
        row("c", "bnb", 1.0, 1.0, "optimal"),
        row("c", "scip", 2.0, 1.5, "time limit"),
    ]
    page = write_page(rows, tmp_path).read_text(encoding="utf-8")
    assert "both proved a block: 2; of those more than 0.0002 apart: 1" in page
    assert "Bounds above another engine's objective: 1." in page
    assert "| scip | 2/3 | 1 |" in page
