"""The benchmark of structured pruning on the digits network: its rows and its page. No time is asserted."""

from __future__ import annotations

import json
from pathlib import Path


def test_rows_and_page(tmp_path: Path) -> None:
    from benchmarks.structured.command import main

    words = ["--network", "digits", "--samples", "100", "--rows", "joint/curves,magnitude/uniform", "--refine", "0"]
    assert main([*words, "--results", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "structured.jsonl").read_text().splitlines()]
    assert [(row["selection"], row["allocation"]) for row in rows] == [("joint", "curves"), ("magnitude", "uniform")]
    for row in rows:
        assert row["flops"] <= 0.5
        assert row["difference"] <= 1e-5
        assert row["accuracy_batchnorm"] is None  # it has none
        assert 0.8 < row["accuracy"] <= 1
    assert rows[0]["bound"] <= rows[0]["loss"] < rows[1]["loss"]
    page = (tmp_path / "structured.md").read_text()
    margin = 100 * (rows[0]["accuracy"] - rows[1]["accuracy"])
    assert f"is {margin:.2f} points above" in page
    assert f"| joint | curves | 0 | {100 * rows[0]['accuracy']:.2f} | – |" in page
    # What is there is not measured again.
    assert main([*words, "--results", str(tmp_path)]) == 0
    assert [json.loads(line) for line in (tmp_path / "structured.jsonl").read_text().splitlines()] == rows
