"""Which charts there are: none that has nothing to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from made_store import block, done, write_manifest, write_store

from cbs_opt.batch.child import _solve
from cbs_opt.report.build import build_report
from cbs_opt.report.charts import charts
from cbs_opt.store import Block, Record, open_store
from cbs_opt.testing.instances import gram


def drawn(folder: Path, records: list[Record]) -> dict[str, dict[str, Any]]:
    with open_store(write_store(folder / "results.sqlite", records)) as opened:
        return {chart["id"]: chart for chart in charts(build_report(opened))["charts"]}


def blocks_of(folder: Path, *sizes: int) -> list[Block]:
    manifest = str(folder / "manifest.json")
    places = [sum(sizes[:number]) for number in range(len(sizes))]
    blocks = [
        block(f"b{number}", n, tensor="fc", first=first, manifest=manifest)
        for number, (n, first) in enumerate(zip(sizes, places, strict=True))
    ]
    write_manifest(folder / "manifest.json", blocks)
    return blocks


def test_there_is_no_gap_against_time_where_nobody_reports(tmp_path: Path) -> None:
    blocks = blocks_of(tmp_path, 4, 8)
    silent = [done(one, "exact", 1.0, 1.0) for one in blocks]
    assert "curves" not in drawn(tmp_path, silent)
    (tmp_path / "other").mkdir()
    told = [done(one, "exact", 1.0, 1.0, trace=[(0.5, 2.0, 0.5)]) for one in blocks]
    assert "curves" in drawn(tmp_path / "other", told)


def test_the_report_at_the_end_of_a_search_is_no_report_on_the_way() -> None:
    points: list[tuple[float, float, float]] = []
    task = {"method": "bnb", "asked": "sparsity 0.5", "seed": None, "options": {}}
    assert _solve(gram(6, 9, 0.1), task, points).nodes > 0
    assert points == []  # it ends long before the first quarter of a second


def test_gaps_stand_at_the_sizes_of_their_blocks(tmp_path: Path) -> None:
    blocks = blocks_of(tmp_path, 4, 8, 64)
    chart = drawn(tmp_path, [done(one, "exact", 1.0, 0.9) for one in blocks])["sizes"]
    four, eight, sixtyfour = chart["x"]["at"]
    assert abs((sixtyfour - eight) / (eight - four) - 3) < 0.01  # 8 is twice 4, and 64 is 8 doubled three times
    (tmp_path / "one").mkdir()
    alike = blocks_of(tmp_path / "one", 4, 4)
    assert "sizes" not in drawn(tmp_path / "one", [done(one, "exact", 1.0, 0.9) for one in alike])


def test_where_in_the_layers_has_a_panel_for_each_method(tmp_path: Path) -> None:
    blocks = blocks_of(tmp_path, 4, 4)
    records = [done(one, "exact", 1.0, 1.0) for one in blocks] + [done(blocks[0], "quick", 2.0)]
    chart = drawn(tmp_path, records)["places"]
    shown = {panel["choice"]: panel["cells"][0] for panel in chart["panels"]}
    assert list(shown) == ["best of all", "exact", "quick"]
    assert set(shown["exact"]) == set(shown["best of all"]) == {0.0}
    assert set(shown["quick"][:16]) == {0.5}
    assert set(shown["quick"][16:]) == {None}
    (tmp_path / "one").mkdir()
    alone = drawn(tmp_path / "one", [done(one, "exact", 1.0, 1.0) for one in blocks_of(tmp_path / "one", 4, 4)])
    assert [panel["choice"] for panel in alone["places"]["panels"]] == ["best of all"]
