"""What the rows amount to: medians, ratios against a reference, and the tables."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.exact.measure import Record
from cbs_opt.kernel.files import write_whole


def ratios(records: Sequence[Record], engine: str, reference: str) -> list[dict[str, Any]]:
    """Processor time of the reference over that of the engine, where at least one of the two proved the instance.

    A time limit counts as the time it took: where only the engine finished the ratio is a lower bound on
    the true one, where only the reference did an upper bound. The worst comes first.
    """
    times = {(r.instance, r.engine): r for r in records}
    rows: list[dict[str, Any]] = []
    for mine in records:
        other = times.get((mine.instance, reference))
        if mine.engine != engine or other is None or not mine.cpu or not other.cpu:
            continue
        if mine.proven or other.proven:
            sign = "" if mine.proven and other.proven else ("≥" if mine.proven else "≤")
            rows.append(
                {
                    "instance": mine.instance,
                    "family": mine.family,
                    "seconds": mine.cpu,
                    "reference": other.cpu,
                    "ratio": other.cpu / mine.cpu,
                    "sign": sign,
                }
            )
    return sorted(rows, key=lambda row: float(row["ratio"]))


def geometric_mean(values: Sequence[float]) -> float:
    """nan for none."""
    return math.exp(statistics.fmean(math.log(value) for value in values)) if values else math.nan


def summary(records: Sequence[Record], reference: str) -> list[dict[str, Any]]:
    """One row per engine."""
    rows = []
    for engine in dict.fromkeys(record.engine for record in records):
        mine = [record for record in records if record.engine == engine]
        seconds = [record.seconds for record in mine if record.seconds is not None]
        against = [] if engine == reference else ratios(records, engine, reference)
        rows.append(
            {
                "engine": engine,
                "instances": len(mine),
                "proven": sum(record.proven for record in mine),
                "failed": sum(record.seconds is None for record in mine),
                "median_seconds": statistics.median(seconds) if seconds else None,
                "compared": len(against),
                "geometric_mean_ratio": geometric_mean([row["ratio"] for row in against]) if against else None,
                "worst_ratio": against[0]["ratio"] if against else None,
                "worst_instance": against[0]["instance"] if against else None,
                "slower_on": sum(row["ratio"] < 1 for row in against),
            }
        )
    return rows


def write(
    folder: Path,
    records: Sequence[Record],
    reference: str,
    cold: Sequence[Mapping[str, Any]],
    setting: Mapping[str, Any],
) -> str:
    """Write results.json, results.csv and results.md; return the last."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [record.to_dict() for record in records]
    totals = summary(records, reference)
    page = markdown(records, reference, totals, cold, setting)
    everything = {"setting": setting, "summary": totals, "cold": list(cold), "results": rows}
    write_whole(folder / "results.json", lambda stream: stream.write(json.dumps(everything, indent=1).encode()))
    write_whole(folder / "results.md", lambda stream: stream.write(page.encode()))
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return page


def markdown(
    records: Sequence[Record],
    reference: str,
    totals: Sequence[Mapping[str, Any]],
    cold: Sequence[Mapping[str, Any]],
    setting: Mapping[str, Any],
) -> str:
    """The page."""
    lines = ["# Exact engines", "", "; ".join(f"{key} {value}" for key, value in setting.items()), ""]
    lines += table(
        ["engine", "proven", "failed", "median s", f"{reference} / engine (CPU)", "worst", "slower on", "where worst"],
        [
            [
                t["engine"],
                f"{t['proven']}/{t['instances']}",
                t["failed"],
                short(t["median_seconds"]),
                short(t["geometric_mean_ratio"]),
                short(t["worst_ratio"]),
                f"{t['slower_on']}/{t['compared']}",
                t["worst_instance"] or "",
            ]
            for t in totals
        ],
    )
    for engine in (t["engine"] for t in totals if t["engine"] != reference):
        slower = [row for row in ratios(records, engine, reference) if row["ratio"] < 1]
        if slower:
            lines += ["", f"## {engine}: slower than {reference}", ""]
            lines += table(
                ["instance", "CPU s", f"{reference} CPU s", "ratio"],
                [
                    [r["instance"], short(r["seconds"]), short(r["reference"]), r["sign"] + short(r["ratio"])]
                    for r in slower
                ],
            )
    if cold:
        lines += ["", "## First calls, in seconds", ""]
        keys = ["engine", "import", "first ever", "first in a process", "second", "failed"]
        lines += table(keys, [[short(row.get(key)) for key in keys] for row in cold])
    lines += ["", "## All solves", ""]
    lines += table(
        ["instance", "engine", "s", "CPU s", "nodes", "gap", "status", "objective"],
        [
            [
                r.instance,
                r.engine,
                short(r.seconds),
                short(r.cpu),
                r.nodes,
                short(r.gap),
                r.status,
                short(r.objective, 9),
            ]
            for r in records
        ],
    )
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Of markdown."""
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]


def short(value: Any, digits: int = 3) -> str:
    """Nothing for None, few digits for a float."""
    if value is None:
        return ""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
