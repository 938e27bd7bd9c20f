"""The study of a language model runs on a tiny one, resumes, and says on its page what the rows say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).parents[2]
SIZES = ["--windows", "6", "--length", "12", "--test-windows", "4", "--test-length", "16"]


def given(place: Path) -> list[str]:
    return ["--model", f"{place}/model", "--text", f"{place}/valid.txt", "--test-text", f"{place}/test.txt"]


def written(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "llm.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rows are measured here, which saves the start of a process a row; their names as they are."""
    from benchmarks.llm import command, row

    begun: list[str] = []

    def measured(protocol: Any, task: Any, bounds: Any, judge: Path) -> dict[str, Any]:
        begun.append(task.words())
        return row.measured(protocol, *task, bounds, judge)

    monkeypatch.setattr(command, "in_a_process", measured)
    return begun


def loss_shares(place: Path, other: torch.nn.Module, x: np.ndarray) -> dict[str, float]:
    """Of the definition: what each layer of a network loses on the dense network's inputs, of what removing it does."""
    dense = transformers.AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.float32)
    inputs: dict[str, torch.Tensor] = {}
    for name, module in dense.named_modules():
        if name.endswith("_proj"):
            module.register_forward_pre_hook(lambda _, args, name=name: inputs.update({name: args[0]}))
    with torch.no_grad():
        dense(torch.from_numpy(x))
    shares = {}
    for name, values in inputs.items():
        X = values.double().flatten(0, 1)
        H = X.T @ X / len(X)
        H += 0.01 * H.diagonal().mean() * torch.eye(len(H))
        w_bar, w = (m.get_submodule(name).weight.detach().double() for m in (dense, other))
        d = w - w_bar
        shares[name] = float(((d @ H) * d).sum() / ((w_bar @ H) * w_bar).sum())
    return shares


@pytest.mark.slow
def test_all_rows_from_start_to_page_and_none_is_run_again(
    place: Path, tmp_path: Path, in_this_process: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.llm import command
    from benchmarks.llm.selectors import SELECTORS

    rows = list(SELECTORS)
    words = ["run", *given(place), *SIZES, "--rows", ",".join(rows), "--patterns", "0.5,2:4", "--seeds", "0,1"]
    assert command.main([*words, "--out", str(tmp_path)]) == 0
    log = written(tmp_path)
    tasks = [f"{name}, {pattern}, seed {seed}" for seed in (0, 1) for pattern in ("0.5", "2:4") for name in rows]
    assert in_this_process == ["dense", *tasks]
    assert [entry["selector"] for entry in log] == ["dense", *rows * 4]
    for entry in log[1:]:
        assert entry["perplexity"] != log[0]["perplexity"]
        assert [layer["pruned"] / layer["n"] for layer in entry["layers"]] == [0.5] * 14
        assert entry["error"] == pytest.approx(np.mean([layer["error"] for layer in entry["layers"]]))
        assert entry["gap"] is None
        of_prune = entry["selector"] not in ("magnitude", "wanda")
        assert len(entry["blocks"]) == (2 if of_prune else 0)
        assert all((block["refined"] is not None) == ("+refine" in entry["selector"]) for block in entry["blocks"])
        assert entry["memory"]["peak_evaluated"] >= entry["memory"]["peak"] >= entry["memory"]["peak_loaded"] > 2**24
        assert entry["seconds_in_all"] >= sum(entry["seconds"].values()) > 0
    page = (tmp_path / "llm.md").read_text(encoding="utf-8")
    assert "\n## 50 %\n" in page
    assert "\n## 2:4\n" in page
    assert all(page.count(f"\n| {name} | 2 | ") == 2 for name in rows)
    assert "## Is a lower layer error a better model?" in page
    assert f"dense {log[0]['perplexity']:.2f}" in page
    assert "its authors' code" not in page  # their figures are of another model
    assert (tmp_path / "llm.png").read_bytes().startswith(b"\x89PNG")

    in_this_process.clear()
    assert command.main([*words, "--out", str(tmp_path)]) == 0
    assert in_this_process == []
    assert written(tmp_path) == log
    (tmp_path / "llm.jsonl").write_text("".join(json.dumps(e) + "\n" for e in log if e["selector"] != "admm"))
    assert command.main([*words, "--out", str(tmp_path)]) == 0
    assert in_this_process == [task for task in tasks if task.startswith("admm,")]

    assert command.main(["run", *given(place), *SIZES[2:], "--windows", "5", "--out", str(tmp_path)]) == 2
    assert "llm.jsonl: holds rows of another protocol (windows differ)" in capsys.readouterr().err


@pytest.mark.slow
def test_each_row_is_a_process_of_its_own_and_one_that_fails_stops_no_other(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.llm import command

    words = ["run", *given(place), *SIZES, "--rows", "magnitude", "--patterns", "3:5,0.5", "--seeds", "0"]
    assert command.main([*words, "--out", str(tmp_path), "--bounds"]) == 1
    assert "failed: magnitude, 3:5, seed 0" in capfd.readouterr().err
    dense, row = written(tmp_path)
    assert (dense["selector"], row["selector"], row["pattern"]) == ("dense", "magnitude", "0.5")
    for layer in row["layers"]:
        assert 0 < layer["bound"] < layer["error"]
        assert layer["gap"] == pytest.approx(1 - layer["bound"] / layer["error"], rel=1e-4)
    assert row["gap"] == pytest.approx(np.mean([layer["gap"] for layer in row["layers"]]))
    assert row["environment"]["threads"] == "1"


def test_a_row_without_bounds_is_run_again_where_they_are_asked_for() -> None:
    from benchmarks.llm.command import Task

    log = [{"part": "row", "selector": "admm", "pattern": "0.5", "seed": 0, "gap": None}]
    assert Task("admm", "0.5", 0).done(log, bounds=False)
    assert not Task("admm", "0.5", 0).done(log, bounds=True)
    assert not Task("admm", "0.5", 1).done(log, bounds=False)
    assert Task("admm", "0.5", 0).done([{**log[0], "gap": 0.2}], bounds=True)


def test_seed_0_is_the_beginning_of_the_text_and_others_are_drawn(place: Path) -> None:
    from benchmarks.llm.protocol import Protocol

    texts = (place / "model", place / "valid.txt", place / "test.txt")
    protocol = Protocol(*texts, windows=6, length=12, test_windows=4, test_length=16)
    everything = Protocol(*texts, windows=37, length=12, test_windows=4, test_length=16).calibration(0)
    assert np.array_equal(protocol.calibration(0), everything[:6])
    whole = [tuple(window) for window in everything]
    for seed in (1, 2):
        found = [whole.index(tuple(window)) for window in protocol.calibration(seed)]
        assert len(set(found)) == 6
        assert found != list(range(6))
    assert not np.array_equal(protocol.calibration(1), protocol.calibration(2))
    assert protocol.test().shape == (4, 16)
    assert protocol.arguments()[:2] == ["--model", str(place / "model")]


@pytest.mark.parametrize(("pattern", "width"), [("0.5", None), ("2:4", 4)])
def test_magnitude_and_wanda_leave_what_they_keep_as_it_was(place: Path, pattern: str, width: int | None) -> None:
    """Wanda's first layer sees the dense network's inputs,
    whose norms are computed here."""
    from benchmarks.llm import untouched
    from benchmarks.llm.protocol import Protocol
    from cbs_opt.network.hugging_face import load_model

    dense = load_model(place / "model")
    x = Protocol(place / "model", place / "valid.txt", place / "test.txt", 6, 12, 4, 16).calibration(0)
    first = "model.layers.0.self_attn.q_proj"
    seen: list[torch.Tensor] = []
    hook = dense.get_submodule(first).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        dense(torch.from_numpy(x))
    hook.remove()
    norms = seen[0].double().flatten(0, 1).norm(dim=0)
    for pruned, scale, within in (
        (untouched.magnitude(dense, pattern), torch.ones_like(norms), 16 * 16),
        (untouched.wanda(dense, x, pattern, lambda words: None), norms, 16),
    ):
        before, after = (m.get_submodule(first).weight.detach() for m in (dense, pruned))
        scores = (before.abs() * scale).reshape(-1, width or within)
        gone = (after == 0).reshape(scores.shape)
        assert bool((gone.sum(dim=1) == scores.shape[1] // 2).all())
        worst_kept = scores.masked_fill(gone, torch.inf).amin(dim=1)
        best_gone = scores.masked_fill(~gone, 0.0).amax(dim=1)
        assert bool((worst_kept >= best_gone * (1 - 1e-6)).all())
        for name, parameter in dense.named_parameters():
            other = pruned.get_parameter(name)
            assert torch.equal(other[other != 0], parameter[other != 0])
            assert ("_proj" in name) == bool((other == 0).any())


def test_errors_are_those_of_the_definition_computed_or_read(place: Path, tmp_path: Path) -> None:
    from benchmarks.llm import row, untouched
    from benchmarks.llm.dense_layers import ORDER, dense_layers
    from benchmarks.llm.protocol import Bounds, Protocol
    from cbs_opt.network.hugging_face import load_model

    x = Protocol(place / "model", place / "valid.txt", place / "test.txt", 6, 12, 4, 16).calibration(1)
    dense = load_model(place / "model")
    pruned = untouched.magnitude(dense, "0.6")
    expected = loss_shares(place, pruned, x)
    for there in (False, True):
        assert (tmp_path / "judge" / ORDER).exists() == there
        layers = row.errors(dense_layers(dense, x, tmp_path / "judge"), pruned, Bounds(True))
        assert {layer["name"]: layer["error"] for layer in layers} == pytest.approx(expected, rel=1e-4)
        assert all(0 < layer["bound"] < layer["error"] for layer in layers)


def entry(selector: str, seed: int, perplexity: float, error: float, **more: Any) -> dict[str, Any]:
    """A row of two layers with the same error."""
    layers = [{"name": name, "n": 100, "pruned": 50, "error": error} for name in ("first", "second")]
    return {
        "part": "row",
        "selector": selector,
        "pattern": "0.5",
        "seed": seed,
        "perplexity": perplexity,
        "error": error,
        "gap": None,
        "seconds_in_all": 60.0,
        "memory": {"held": 2**30, "peak": 3 * 2**30},
        "layers": layers,
        "blocks": [],
        "protocol": {
            "model": "a model",
            "windows": 64,
            "length": 512,
            "test_windows": 48,
            "test_length": 1024,
        },
        "environment": {"threads": "1"},
        **more,
    }


DENSE = {"part": "dense", "selector": "dense", "perplexity": 21.31}


def bounded(row: dict[str, Any], bound: float) -> dict[str, Any]:
    return {**row, "layers": [{**layer, "bound": bound} for layer in row["layers"]]}


def test_rank_correlation_of_a_case_by_hand() -> None:
    """Ranks 1 2 3 4 5 against 2 1 4 3 5: Σd² = 4 and ρ = 1 − 6·4/(5·24) = 0.8; 8 of the 10 pairs agree."""
    from benchmarks.ranks import rank_correlation, same_order

    left, right = [0.1, 0.2, 0.3, 0.4, 50.0], [20.0, 10.0, 40.0, 30.0, 41.0]
    assert rank_correlation(left, right) == pytest.approx(0.8)
    assert same_order(left, right) == (8, 10)
    assert rank_correlation([*left, math.nan], [*right, 1.0]) == pytest.approx(0.8)
    # Ties share their mean rank: 1 2.5 2.5 4 against 1 2 3 4, Pearson's correlation of these is 4.5/√(4.5·5).
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert same_order([1, 2, 2, 3], [1, 2, 3, 4]) == (5, 5)
    assert math.isnan(rank_correlation([1, 2], [1, 2]))
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))


def test_a_bound_holds_for_all_rows_of_its_seed_with_as_many_zeros() -> None:
    from benchmarks.llm.analysis import points_of
    from cbs_opt.errors import BoundViolationError

    more = {"layers": [{"name": "first", "n": 100, "pruned": 60, "error": 0.4}]}
    points = points_of(
        [
            bounded(entry("magnitude", 0, 50.0, 0.4), 0.1),
            entry("admm", 0, 30.0, 0.2),
            entry("admm", 1, 31.0, 0.2),
            {**entry("magnitude", 0, 90.0, 0.4, **more), "pattern": "0.6"},
        ]
    )
    gaps = {(p.selector, p.seed, p.pattern): p.gap for p in points}
    assert gaps["magnitude", 0, "0.5"] == pytest.approx(0.75)
    assert gaps["admm", 0, "0.5"] == pytest.approx(0.5)
    assert math.isnan(gaps["admm", 1, "0.5"])
    assert math.isnan(gaps["magnitude", 0, "0.6"])  # holds, but is of many fewer zeros
    with pytest.raises(BoundViolationError):
        points_of([bounded(entry("magnitude", 0, 50.0, 0.4), 0.3), entry("admm", 0, 30.0, 0.2)])


def test_the_page_says_what_the_rows_say(tmp_path: Path) -> None:
    from benchmarks.llm.page import write_page

    blocks = [{"name": "0", "error": 0.02, "refined": 0.01}, {"name": "1", "error": 0.04, "refined": 0.03}]
    rows = [
        DENSE,
        bounded(entry("magnitude", 0, 12000.0, 0.06), 0.01),
        entry("wanda", 0, 40.0, 0.05),
        entry("admm", 0, 28.0, 0.02),
        entry("admm", 1, 30.0, 0.03),
        entry("ours", 0, 27.0, 0.0125),
        entry("ours+refine", 0, 25.0, 0.016, blocks=blocks),
    ]
    page = write_page(rows, tmp_path).read_text(encoding="utf-8")
    assert "| magnitude | 1 | 12,000 | 0.06000 | 83.3 | 60 | 2.00 |" in page
    assert "| admm | 2 | 29.00 ± 1.41 | 0.02500 ± 0.00707 | 50.0 | 60 ± 0 | 2.00 |" in page
    assert "| *Wanda, its authors' code* | 1 | 40.98 | 0.02990 |" in page
    assert "| *ALPS, its authors' code* | 1 | 28.65 | 0.00948 |" in page
    # Five networks of seed 0; their ranks by error 1 2 3 4 5, by perplexity 2 1 3 4 5: ρ = 1 − 6·2/(5·24) = 0.9.
    # The one of seed 1 stands for itself: its error is about other windows.
    assert "9 of 10 pairs are in its order, ρ = +0.90 (50 %)" in page
    among = (
        "**Among networks that were not refined: The lower mean layer error always is the better model here.** 6 of 6"
    )
    assert among in page
    assert "- 50 %: *ours* has the lower error, *ours+refine* the lower perplexity." in page
    assert "| 50 % | 6 | +0.90 | 9 of 10 | +1.00 | 6 of 6 | 5 | +0.90 | 9 of 10 |" in page
    assert "*sparsegpt*" not in page
    assert "Refining took the output error of a block, in the mean, from 0.0300 to 0.0200." in page
    assert "**Protocol.** SmolLM2-135M-Instruct (a model)." in page
    assert "Bounds are the best found" not in page
    limited = [*rows[:-1], {**rows[-1], "bound_time": 1200.0}]
    assert "Bounds are the best found in 1,200 s for all" in write_page(limited, tmp_path).read_text(encoding="utf-8")
    others = write_page([{**DENSE, "perplexity": 17.0}, *rows[1:]], tmp_path).read_text(encoding="utf-8")
    assert "its authors' code" not in others
    assert "**Protocol.** a model." in others


def test_the_page_says_so_where_the_error_tells_nothing(tmp_path: Path) -> None:
    from benchmarks.llm.page import write_page

    rows = [DENSE, entry("magnitude", 0, 20.0, 0.06), entry("wanda", 0, 30.0, 0.05), entry("admm", 0, 40.0, 0.04)]
    page = write_page(rows, tmp_path).read_text(encoding="utf-8")
    assert "**The mean layer error does not tell which model is better" in page
    assert "0 of 3 pairs are in its order, ρ = −1.00 (50 %)" in page
    assert page.count("the lower perplexity.\n") == 3
    assert "## Is a lower" not in write_page(rows[:3], tmp_path).read_text(encoding="utf-8")


def test_an_unknown_row_and_a_pattern_that_cannot_be_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.llm import command

    for option, word, message in (
        ("--rows", "adm", "did you mean admm?"),
        ("--patterns", "1.5", "1.5"),
        ("--patterns", "5:4", "5:4"),
    ):
        with pytest.raises(SystemExit):
            command.main(["run", *given(place), option, word])
        assert message in capsys.readouterr().err


def test_a_file_that_is_not_there_makes_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.llm import smollm2

    assert smollm2.main([str(tmp_path / "made"), "--gguf", str(tmp_path / "nowhere.gguf")]) == 2
    assert "nowhere.gguf: no such file" in capsys.readouterr().err
    assert smollm2.main([str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
