"""The benchmark of the library runs, records and writes its page; what it publishes is true. No timing is asserted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import cbs_opt
from cbs_opt.library import check, instance

NAME = "digits-fc3-row08-gram16-strong-2of4"


def test_engines_are_measured_and_replaced(tmp_path: Path) -> None:
    from benchmarks.exact.instances.command import main

    asked = ["--engines", "bnb,highs-oa", "--time-limit", "20", "--out", str(tmp_path)]
    assert main([*asked, "--names", NAME]) == 0
    assert main([*asked, "--names", "digits-fc3-row08-gram16-strong-*"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "instances.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2 * 2
    assert {row["status"] for row in rows} == {"optimal"}
    for row in rows:
        assert row["objective"] == pytest.approx(instance(row["instance"]).known.objective, rel=1e-4)
    page = (tmp_path / "instances.md").read_text(encoding="utf-8")
    assert "| gram | 16 | 2 | 2 | 2 |" in page
    assert f"| {NAME} | 16 | pattern 2:4 |" in page


def test_what_is_published_is_the_optimum_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.exact.instances import publish as publishing

    (tmp_path / "certificates").mkdir()
    monkeypatch.setattr(publishing, "FOLDER", tmp_path)
    monkeypatch.setattr("cbs_opt.library.catalogue.HOME", tmp_path)
    one = replace(instance(NAME), published=None)
    known = publishing.publish(one, 20.0)
    publishing.write({NAME: known})
    assert json.loads((tmp_path / "published.json").read_text(encoding="utf-8"))[NAME]["bound"] == known.bound
    optimum = cbs_opt.solve(one.problem(), "enumeration").objective
    assert known.objective == pytest.approx(optimum, rel=1e-9)
    assert check(replace(one, published=known)).gap < 1e-6


def test_a_certificate_too_large_proves_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.exact.instances import publish as publishing

    (tmp_path / "certificates").mkdir()
    monkeypatch.setattr(publishing, "FOLDER", tmp_path)
    monkeypatch.setattr(publishing, "MOST_BYTES", 12_000)
    monkeypatch.setattr(publishing, "FEW_BYTES", 8_000)
    known = publishing.publish(instance("digits-fc2-row00-gram32-weak-4of8"), 20.0)
    assert known.optimal
    assert known.certified < known.bound
    assert (tmp_path / "certificates" / "digits-fc2-row00-gram32-weak-4of8.npz").stat().st_size <= 8_000
