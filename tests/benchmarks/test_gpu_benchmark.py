"""The device's benchmark, tried on the processor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest


def test_every_part_leaves_its_rows_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.gpu import command

    d = 16
    X = np.random.default_rng(0).standard_normal((40, d))
    upper = (X.T @ X / 40)[np.triu_indices(d)].astype(np.float32)
    np.savez(tmp_path / "small.npz", H_upper=upper, W=np.ones((6, d), np.float32))
    words = ["--device", "cpu", "--layers", str(tmp_path), "--size", "24", "--weights", "3000", "--out", str(tmp_path)]
    assert command.main([*words, "--parts", "layers,made,factor"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["part"], row["pattern"], row["device"]) for row in rows] == [
        ("layers", "0.5", "cpu"),
        ("layers", "2:4", "cpu"),
        ("made", "0.5", "cpu"),
        ("made", "2:4", "cpu"),
        ("factor", "0.9", "cpu"),
    ]
    for row in rows[:4]:
        assert 0 < row["bound"] <= row["objective"] < 1
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "| small, 6 × 16 | 2:4 | cpu |" in page
    assert "| factor of 3,000 weights | 0.9 | cpu | – | – |" in page
    assert "(5 rows)" in capsys.readouterr().out


def test_the_made_layer_has_the_spectrum_it_says() -> None:
    from benchmarks.gpu.layers import DECAY, made_layer

    layer = made_layer(20)
    H = layer.curvature.H - layer.curvature.damping * np.eye(20)
    assert np.allclose(np.sort(np.linalg.eigvalsh(H))[::-1], np.arange(1.0, 21) ** -DECAY)


def test_tests_that_fail_are_said_to(tmp_path: Path) -> None:
    from benchmarks.gpu import command

    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.gpu\ndef test_it():\n    assert 0\n")
    words = ["--device", "cpu", "--parts", "tests", "--tests", str(tmp_path), "--out", str(tmp_path)]
    assert command.main(words) == 1
    assert "1 failed" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_a_device_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.gpu import command

    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert command.main(["--out", str(tmp_path)]) == 2
    assert "no CUDA device here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
