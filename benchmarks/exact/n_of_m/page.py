"""The page of what ``n_of_m`` recorded: times and ratios by pattern and size, the smallest ratios, the bound's gaps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks import recording
from benchmarks.exact.measure import Record
from benchmarks.exact.n_of_m.measure import ALONE, LEAST, PATIENCE, WITH_MODEL
from benchmarks.exact.summary import geometric_mean, ratios, short, table
from benchmarks.recording import Row

INTRODUCTION = f"""\
# N:M blocks: bnb and Gurobi

Written by `python -m benchmarks.exact.n_of_m`; every row is in [n_of_m.jsonl](n_of_m.jsonl). Both to a gap of 1e-4, on
one thread, by turns in the same process, the compiled loops loaded beforehand. Gurobi 13 (restricted licence) gets
the big-M model (`joint-bigm`) of the block scaled to f(0) near 1,000, because its tolerances are absolute. Of bnb
everything is timed; of Gurobi only its `optimize`, and in the column *with model* also what builds the model and hands
it over. It is stopped after {PATIENCE} times what bnb took or more, never before {LEAST:g} wall seconds; a run that is
stopped counts with the processor time it used, so that its ratio (≥) understates the difference. `lower_bound`
stands beside the best value known."""

WORST = 10


def write_page(rows: Sequence[Row], folder: Path) -> Path:
    """Write ``n_of_m.md``; return where."""
    return recording.write_page(folder / "n_of_m.md", INTRODUCTION, {"n-of-m": _all}, rows)


def _all(rows: Sequence[Row]) -> list[str]:
    parts = {"Generated blocks": False, "Block files": True}
    lines: list[str] = []
    for title, files in parts.items():
        mine = [row for row in rows if (row["family"] == "file") is files]
        if mine:
            lines += [*([""] if lines else []), *_section(title, mine)]
    return lines


def _section(title: str, rows: Sequence[Row]) -> list[str]:
    records = [_record(row) for row in rows]
    found, with_model = (ratios(records, "bnb", engine) for engine in (ALONE, WITH_MODEL))
    keys = sorted({(row["pattern"], row["n"]) for row in rows})
    body = [_line(rows, found, with_model, pattern, n) for pattern, n in keys]
    body += [_line(rows, found, with_model, pattern) for pattern in dict.fromkeys(pattern for pattern, _ in keys)]
    body += [_line(rows, found, with_model)]
    wrong = [row for row in rows if row["status"] == "wrong" and row["engine"] == ALONE]
    lines = [
        f"## {title}",
        "",
        *table(
            [
                "pattern",
                "n",
                "blocks",
                "bnb proved",
                "Gurobi proved",
                "CPU s: bnb",
                "Gurobi",
                "geometric mean",
                "smallest",
                "with model",
                "smallest",
                "gap of lower_bound",
                "CPU s",
            ],
            body,
        ),
        "",
        "Times and gaps are medians; a ratio is Gurobi's processor time over that of bnb, where one of them proved.",
        f"bnb slower on {sum(row['ratio'] < 1 for row in found)} of {len(found)}. The smallest ratios:",
        "",
        *table(
            ["block", "bnb CPU s", "Gurobi CPU s", "ratio"],
            [
                [row["instance"], short(row["seconds"]), short(row["reference"]), row["sign"] + short(row["ratio"])]
                for row in found[:WORST]
            ],
        ),
    ]
    if wrong:
        lines += ["", "Gurobi's answer contradicts a better mask that bnb holds on:", ""]
        lines += [f"- {row['instance']}: {short(row['objective'], 9)}, bound {short(row['bound'], 9)}" for row in wrong]
    open_ = [row for row in rows if row["engine"] == "lower_bound" and row["status"] != "optimal"]
    if open_:
        lines += ["", f"`lower_bound` stays more than 1e-4 below on {len(open_)} blocks; its largest gaps:", ""]
        worst = sorted(open_, key=lambda row: -float(row["gap"]))[:WORST]
        lines += table(["block", "gap", "CPU s"], [[r["instance"], _percent(r["gap"]), short(r["cpu"])] for r in worst])
    return lines


def _line(
    rows: Sequence[Row],
    found: Sequence[Row],
    with_model: Sequence[Row],
    pattern: str | None = None,
    n: int | None = None,
) -> list[object]:
    mine = [row for row in rows if pattern in (None, row["pattern"]) and n in (None, row["n"])]
    names = {row["instance"] for row in mine}
    of = {engine: [row for row in mine if row["engine"] == engine] for engine in ("bnb", ALONE, "lower_bound")}
    cpu = {engine: [float(row["cpu"]) for row in part if row["cpu"] is not None] for engine, part in of.items()}
    gaps = [float(row["gap"]) for row in of["lower_bound"]]
    return [
        pattern or "all",
        n or "all",
        len(names),
        sum(row["status"] == "optimal" for row in of["bnb"]),
        sum(row["status"] == "optimal" for row in of[ALONE]),
        _median(cpu["bnb"]),
        _median(cpu[ALONE]),
        *_compared(found, names),
        *_compared(with_model, names),
        _percent(statistics.median(gaps)) if gaps else "",
        _median(cpu["lower_bound"]),
    ]


def _compared(found: Sequence[Row], names: set[str]) -> tuple[str, str]:
    """The geometric mean of the ratios, which are sorted, and the smallest."""
    mine = [row for row in found if row["instance"] in names]
    if not mine:
        return "", ""
    return short(geometric_mean([float(row["ratio"]) for row in mine])), mine[0]["sign"] + short(mine[0]["ratio"])


def _median(values: Sequence[float]) -> str:
    return short(statistics.median(values)) if values else ""


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _record(row: Row) -> Record:
    return Record(**{field.name: row[field.name] for field in fields(Record)})
