"""`cbs-opt shrink`, through the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cbs_opt


def test_a_small_network_is_written_and_built_again(cli: Any, digits_network: Any, tmp_path: Path) -> None:
    run = cli("shrink", "--parameters", 0.5, "--samples", 200, "--out", tmp_path / "small", "--json", "-")
    assert run.code == 0
    told = run.json()
    assert told["network"] == "digits"
    assert told["parameters"] <= 0.5 * told["parameters_dense"]
    assert told["bound"] <= told["loss"]
    assert 0.8 < told["accuracy"] <= told["accuracy_dense"] + 0.01
    small = cbs_opt.load_shrunk(digits_network, tmp_path / "small")
    assert sum(p.numel() for p in small.parameters()) == told["parameters"]


def test_words_for_people(cli: Any) -> None:
    run = cli("shrink", "--flops", 0.5, "--samples", 100, "--selection", "magnitude", "--allocation", "uniform")
    assert run.code == 0
    assert "of the operations and" in run.out
    assert "fc1" in run.out
    assert "bound" not in run.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "flops, parameters: give exactly one of them"),
        (["--flops", 0.001], "flops: with one unit of each set"),
        (["--flops", 0.5, "--selection", "norm"], "selection 'norm': unknown"),
        (["--flops", 0.5, "--network", "resnet20"], "give --data FILE"),
    ],
)
def test_bad_input_is_one_sentence(cli: Any, words: list[Any], said: str) -> None:
    run = cli("shrink", *words)
    assert run.code == 2
    assert said in run.err
    assert run.err.count("\n") == 1
