"""What is recorded about whole networks: rows and page of small runs without any data. No timing is asserted."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cbs_opt

ROOT = Path(__file__).parents[2]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "networks.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_part_replaces_its_own_rows_only(tmp_path: Path) -> None:
    from benchmarks.networks.command import main

    gaps = ["gaps", "--network", "digits", "--samples", "40", "--dampings", "1e-2", "--out", str(tmp_path)]
    for sparsities in ("0.5,0.8", "0.8"):
        assert main([*gaps, "--sparsities", sparsities]) == 0
    assert main(["fuzz", "--count", "5", "--out", str(tmp_path)]) == 0
    synthetic = ["synthetic", "--weights", "3000", "--samples", "20", "--sparsities", "0.9", "--out", str(tmp_path)]
    assert main(synthetic) == 0
    rows = rows_of(tmp_path)
    assert [(row["part"], row.get("sparsity")) for row in rows] == [
        ("gaps", 0.5),
        ("gaps", 0.8),
        *[("fuzz", None)] * 4,
        ("synthetic", 0.9),
    ]
    assert all(0 <= row["gap"] < 0.01 for row in rows if row["part"] == "gaps")
    assert all(row["problems"] == 5 and row["violations"] == [] for row in rows if row["part"] == "fuzz")
    assert 0 < rows[-1]["bound"] <= rows[-1]["magnitude_objective"]
    page = (tmp_path / "networks.md").read_text(encoding="utf-8")
    for words in ("digits, 2,720 weights, m = 40", "| dual | 5 | 0 | 0 |", "3,000", "Not measured on a CUDA device"):
        assert words in page


def test_an_absent_device_is_skipped_visibly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from benchmarks.networks.command import main

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert main(["synthetic", "--device", "cuda", "--out", str(tmp_path)]) == 0
    assert "skipped: device: cuda" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_only_what_is_lower_and_within_a_third_is_named(tmp_path: Path) -> None:
    from benchmarks.networks.page import write_page

    def row(method: str, objective: float, cpu: float, sparsity: float = 0.9) -> dict[str, Any]:
        told = {"method": method, "objective": objective, "cpu": cpu, "sparsity": sparsity}
        shared = {"part": "chita", "m": 10, "damping": 1e-3, "threads": 1, "repeat": 3}
        return {**shared, **told, "chita_objective": 2.0, "chita_cpu": 3.0}

    rows = [row("a", 2.5, 0.1), row("b", 1.9, 0.9), row("c", 1.0, 1.1), row("a", 2.5, 0.1, 0.5)]
    page = write_page(rows, tmp_path).read_text(encoding="utf-8")
    assert "| 0.9 | 2.000000 / 3 | 2.500000 / 0.1 | 1.900000 / 0.9 | 1.000000 / 1.1 | b, 0.30 |" in page
    assert "| 0.5 | 2.000000 / 3 | 2.500000 / 0.1 | none |" in page


def test_the_exact_optimum_is_that_of_a_problem_solved_by_hand() -> None:
    """H = [[2, 1], [1, 2]] + I/4, w̄ = (1, 2): keep the second, w₂ = 2 + H₁₂/H₂₂, f = ½(H₁₁ − H₁₂²/H₂₂)."""
    from benchmarks.exact_optimum import exact_optimum

    A = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    problem = cbs_opt.PruningProblem([1.0, 2.0], cbs_opt.FactorCurvature(A, 0.25), offset=3.0).pruning(1)
    assert exact_optimum(problem) == 3 + Fraction(1, 2) * (Fraction(9, 4) - Fraction(4, 9))
    assert exact_optimum(problem.pruning(0)) == 3
