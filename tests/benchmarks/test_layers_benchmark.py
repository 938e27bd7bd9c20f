"""The table of layers from files, on layers that are made here. No timing is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
D, ROWS = 16, 6


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """A folder of two layers."""
    for seed, name in enumerate(("first", "second")):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((40, D))
        upper = (X.T @ X / 40)[np.triu_indices(D)].astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", H_upper=upper, W=rng.standard_normal((ROWS, D)).astype(np.float32))
    return tmp_path


def relative_objective(file: Path, z: np.ndarray) -> float:
    """Of the definition in the README of such layers, one row after the other."""
    with np.load(file) as arrays:
        W, upper = arrays["W"].astype(float), arrays["H_upper"].astype(float)
    H = np.zeros((D, D))
    H[np.triu_indices(D)] = upper
    H = H + H.T - np.diag(H.diagonal())
    H += 0.01 * H.diagonal().mean() * np.eye(D)
    lost = 0.0
    for w, S in zip(W, map(np.flatnonzero, z), strict=True):
        change = -w
        change[S] += np.linalg.solve(H[np.ix_(S, S)], H[S] @ w)
        lost += change @ H @ change
    return float(lost / np.trace(W @ H @ W.T))


def test_a_row_for_every_layer_pattern_and_method(layers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.layers.command import main

    assert main(["--layers", str(layers), "--patterns", "0.5,0.5/row,2:4", "--methods", "wanda,admm"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == 2 * 3 * 2
    for layer, pattern, method, relative, *_ in rows:
        file = layers / f"{layer}.npz"
        if method == "wanda" and pattern != "0.5":
            with np.load(file) as arrays:
                W, d = np.abs(arrays["W"]), np.zeros((D, D))
                d[np.triu_indices(D)] = arrays["H_upper"]
            scores = (W**2 * (d.diagonal() + 0.01 * d.diagonal().mean())).reshape(-1, D if "row" in pattern else 4)
            z = scores >= np.sort(scores, axis=1)[:, [scores.shape[1] // 2]]
            assert float(relative) == pytest.approx(relative_objective(file, z.reshape(ROWS, D)), abs=1e-6)
        assert 0.0 < float(relative) < 1.0


def test_layers_can_be_left_out_and_a_method_that_cannot_is_told(
    layers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.layers.command import main

    assert main(["--layers", str(layers), "--only", "sec", "--patterns", "2:4", "--methods", "cbs"]) == 1
    out = capsys.readouterr().out
    assert "first" not in out
    assert "| second | 2:4 | cbs | failed: " in out


def test_a_file_of_another_shape_is_refused(layers: Path) -> None:
    from benchmarks.layers.command import read_layer
    from cbs_opt.errors import InputError

    np.savez(layers / "bad.npz", H_upper=np.ones(5), W=np.ones((2, 4)))
    with pytest.raises(InputError, match=r"bad\.npz: H_upper has 5 entries; 4 inputs have 10"):
        read_layer(layers / "bad.npz")


def test_prices_of_patterns_are_recorded_layer_by_layer(layers: Path, tmp_path: Path) -> None:
    from benchmarks.layers.prices import main

    out = tmp_path / "results"
    words = ["--layers", str(layers), "--patterns", "sparsity 0.5,8:16,2:4", "--time-limit", "1", "--out", str(out)]
    assert main(words) == 0
    assert main([*words, "--only", "second"]) == 0
    rows = [json.loads(line) for line in (out / "pattern_prices.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["layer"], row["pattern"]) for row in rows] == [
        (layer, pattern) for layer in ("first", "second") for pattern in ("sparsity 0.5", "8:16", "2:4")
    ]
    for half, of_rows, hard in (rows[:3], rows[3:]):
        assert half["cheapest"] == "sparsity 0.5"
        assert half["objective"] <= of_rows["objective"] <= hard["objective"] < 1.0
        assert hard["at_least"] == pytest.approx(max(0.0, hard["bound"] / half["objective"] - 1.0))
        assert hard["at_most"] == pytest.approx(hard["objective"] / half["bound"] - 1.0)
    page = (out / "pattern_prices.md").read_text(encoding="utf-8")
    for words_of_page in (
        "## first",
        "## second",
        "6 × 16 weights; masks by admm, 1 s for each bound",
        "| 2:4 | 50.0% |",
    ):
        assert words_of_page in page
    assert ("Proven: no 2:4 mask comes closer" in page) == any(row["at_least"] > 0 for row in (rows[2], rows[5]))
