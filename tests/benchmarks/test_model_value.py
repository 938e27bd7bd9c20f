"""The study of model value against accuracy runs on the embedded digits, resumes, and computes what its page says."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbs_opt.errors import BoundViolationError, InputError

ROOT = Path(__file__).parents[2]
FISHER = {"curvature": "fisher", "samples": 100, "damping": 1e-3}
SEQUENTIAL = {"curvature": "sequential", "samples": 100, "damping": 1e-3}


def entry(model: dict[str, Any], method: str, objective: float, bound: float | None, accuracy: float) -> dict[str, Any]:
    return {
        "network": "digits",
        "model": model,
        "method": method,
        "sparsity": 0.8,
        "seed": 0,
        "accuracy": accuracy,
        "accuracy_dense": 0.96,
        "loss": 0.5,
        "loss_dense": 0.1,
        "validation": 10_000,
        "objective": objective,
        "bound": bound,
        "damping": model["damping"],
        "moved": 100 * objective,
    }


def test_digits_run_from_grid_to_page_and_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.model_value import command, grid

    sequential = grid.Model("sequential", 100, ("magnitude",), damping=1e-2)
    small = (grid.Model("fisher", 100, ("magnitude", "woodfisher", "relaxation"), damping=1e-3), sequential)
    monkeypatch.setitem(grid.GRID, "digits", small)
    monkeypatch.setitem(grid.SPARSITIES, "digits", (0.8,))
    assert command.main(["--network", "digits", "--out", str(tmp_path)]) == 0
    log = tmp_path / "model-value.jsonl"
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    selectors = ["magnitude", "woodfisher", "relaxation", "magnitude"]
    assert [e["method"] for e in entries if e["method"] != grid.NOTHING] == selectors
    assert [e["model"]["curvature"] for e in entries if e["method"] == grid.NOTHING] == ["fisher", "sequential"]
    assert {e["pruned"] for e in entries if e["sparsity"] == 0.8} == {2176}
    assert {e["validation"] for e in entries} == {180}
    page = (tmp_path / "model-value.md").read_text(encoding="utf-8")
    assert f"| Fisher, whole network, m = 100, λ = 0.001 | woodfisher | {100 * entries[2]['accuracy']:.2f} (" in page
    for plot in ("gap", "objective", "loss"):
        assert (tmp_path / f"model-value-digits-{plot}.png").read_bytes().startswith(b"\x89PNG")

    from benchmarks.model_value import runs

    monkeypatch.setattr(runs.cbs_opt, "prune", lambda *_, **__: pytest.fail("everything is in the log"))
    assert command.main(["--network", "digits", "--out", str(tmp_path)]) == 0


def test_a_point_that_fails_is_told_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.model_value import command, grid

    # iht takes no block-diagonal curvature.
    small = (grid.Model("fisher", 50, ("iht", "magnitude"), damping=1e-3, partition="layer"),)
    monkeypatch.setitem(grid.GRID, "digits", small)
    monkeypatch.setitem(grid.SPARSITIES, "digits", (0.8,))
    assert command.main(["--network", "digits", "--out", str(tmp_path)]) == 1
    assert "failed: method iht" in capsys.readouterr().out
    assert len((tmp_path / "model-value.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_all_selectors_of_a_model_share_its_best_bound() -> None:
    from benchmarks.model_value.analysis import points_of

    found = points_of(
        "digits",
        [
            entry(FISHER, "magnitude", 4.0, None, 0.9),
            entry(FISHER, "relaxation", 2.0, 1.0, 0.8),
            entry(FISHER, "cbs", 5.0, 0.5, 0.8),
            {**entry(FISHER, "nothing kept", 20.0, None, 0.1), "sparsity": 1.0},
            {**entry(FISHER, "magnitude", 3.0, None, 0.9), "seed": 1},
        ],
    )
    assert [point.gap for point in found] == [0.75, 0.5, 0.8, math.inf]
    assert [point.relative for point in found[:3]] == [0.2, 0.1, 0.25]
    assert math.isnan(found[3].relative)
    # λ/2 · 100 f of f
    assert [point.damping_share for point in found] == pytest.approx([0.05] * 4)


def test_bounds_of_the_sequential_curvature_are_each_runs_own() -> None:
    from benchmarks.model_value.analysis import points_of

    entries = [entry(SEQUENTIAL, "magnitude", 4.0, 3.0, 0.9), entry(SEQUENTIAL, "greedy-obs", 2.0, 1.0, 0.9)]
    assert [point.gap for point in points_of("digits", entries)] == [0.25, 0.5]


def test_a_bound_above_an_objective_stops_the_page(tmp_path: Path) -> None:
    from benchmarks.model_value.page import write_page

    with pytest.raises(BoundViolationError):
        write_page([entry(FISHER, "magnitude", 1.0, None, 0.9), entry(FISHER, "cbs", 2.0, 1.5, 0.9)], tmp_path)


def test_rank_correlation_and_pairs() -> None:
    from benchmarks.model_value.analysis import agreement, points_of, rank_correlation

    def objective(point: Any) -> float:
        return float(point.objective)

    methods = ("magnitude", "woodfisher", "cbs", "iht")
    better = points_of("digits", [entry(FISHER, m, 1.0 + i, None, 0.9 - 0.1 * i) for i, m in enumerate(methods)])
    assert rank_correlation(better, objective) == 1
    assert agreement(better, objective) == (6, 6)
    worse = points_of("digits", [entry(FISHER, m, 1.0 + i, None, 0.5 + 0.1 * i) for i, m in enumerate(methods)])
    assert rank_correlation(worse, objective) == -1
    assert agreement(worse, objective) == (0, 6)
    same = points_of("digits", [entry(FISHER, m, 1.0 + i, None, 0.9) for i, m in enumerate(methods)])
    assert math.isnan(rank_correlation(same, objective))
    assert agreement(same, objective) == (0, 0)
    assert math.isnan(rank_correlation(better, lambda point: point.gap))


def test_cross_entropy_of_a_network_without_an_opinion() -> None:
    import torch

    from benchmarks.model_value.runs import cross_entropy

    network = torch.nn.Linear(3, 4)
    torch.nn.init.zeros_(network.weight)
    torch.nn.init.zeros_(network.bias)
    x, y = np.ones((1001, 3), dtype=np.float32), np.zeros(1001, dtype=np.int64)
    assert cross_entropy(network, x, y) == pytest.approx(math.log(4))


def test_conclusions_take_their_figures_from_the_log_and_stand_only_where_it_bears_them_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks.model_value import conclusions
    from benchmarks.model_value.analysis import points_of

    model = {"curvature": "fisher", "samples": 1000, "damping": 1e-3}
    entries = [
        {**entry(model, method, objective, bound, accuracy), "network": "mlpnet", "sparsity": 0.98}
        for method, objective, bound, accuracy in (
            ("magnitude", 1.0, None, 0.31),
            ("relaxation", 0.8, 0.6, 0.62),
            ("cbs", 1.2, None, 0.52),
        )
    ]
    monkeypatch.setattr(conclusions, "_paragraphs", lambda: {"exception": "{cbs}, gap {cbs_gap}; {magnitude}"})
    found = {"mlpnet": points_of("mlpnet", entries)}
    assert conclusions.conclusions(found)[2] == "1. 52.00 %, gap 50 %; 31.00 %".replace(" %", "\N{NO-BREAK SPACE}%")
    assert conclusions.conclusions({"mlpnet": found["mlpnet"][:2]}) == []
    entries[2]["accuracy"] = 0.31
    with pytest.raises(InputError, match="the log contradicts the paragraph exception"):
        conclusions.conclusions({"mlpnet": points_of("mlpnet", entries)})


def test_every_paragraph_has_a_claim_and_every_claim_a_paragraph() -> None:
    from benchmarks.model_value.conclusions import CLAIMS, _paragraphs

    assert list(CLAIMS) == list(_paragraphs())
