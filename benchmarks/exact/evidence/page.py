"""The page of what ``evidence`` recorded: one section per part, every figure from the rows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks import recording
from benchmarks.exact.measure import Record
from benchmarks.exact.summary import geometric_mean, ratios, short, table
from benchmarks.recording import Row

INTRODUCTION = """\
# Exact engines: what was measured

Written by `python -m benchmarks.exact.evidence`; every row is in [exact.jsonl](exact.jsonl). One thread, gap 1e-4 where
none is named. The machine was shared: processor seconds count, wall seconds are up to several times longer. A time
limit is by the wall clock."""

SAME = 2e-4
"""Relative difference of two values proven to 1e-4 that is still agreement."""


def write_page(rows: Sequence[Row], folder: Path) -> Path:
    """Write ``exact.md``; return where."""
    return recording.write_page(folder / "exact.md", INTRODUCTION, SECTIONS, rows)


def _fuzz(rows: Sequence[Row]) -> list[str]:
    return [
        "## Against enumeration",
        "",
        "The blocks of `cbs_opt.testing.instances`: n ≤ 12, H at scales 1e±10, condition up to 1e12, ties, zeros in w̄,",
        "duplicate columns, first-order terms, forced and forbidden weights. Gap 1e-6.",
        "",
        *table(
            ["engine", "blocks", "violations", "CPU s"],
            [[row["engine"], row["blocks"], len(row["violations"]), short(row["cpu"])] for row in rows],
        ),
    ]


def _bounds(rows: Sequence[Row]) -> list[str]:
    return [
        "## Against the optimum in fractions",
        "",
        "The problems of `benchmarks/exact/rounding.py`: n ≤ 6; factors of up to 5,000 rows with λ 1e-14 … 1e-6 of the",
        "mean diagonal, and matrices, samples, diagonals, blocks, rows and quotas. H is formed of the user's arrays as",
        "fractions; wrong is a bound above the exact optimum by any amount, or an error that is no refusal.",
        "Weak is one that an exact method leaves more than 3 % below it, where λ is 1e-10 of the mean diagonal",
        "or more. Refused: an error of one sentence, of input or solver. Draws whose curvature is refused as",
        "it is made are not counted.",
        "",
        *table(
            ["kind", "bound", "problems", "wrong", "weak", "refused"],
            [
                [row["kind"], row["engine"], row["blocks"], len(row["violations"]), len(row["weak"]), row["refused"]]
                for row in rows
            ],
        ),
    ]


def _agreement(rows: Sequence[Row]) -> list[str]:
    records = [_record(row) for row in rows]
    by_instance: dict[str, list[Record]] = {}
    for record in records:
        by_instance.setdefault(record.instance, []).append(record)
    pairs = [
        (a, b)
        for group in by_instance.values()
        for i, a in enumerate(group)
        for b in group[:i]
        if a.proven and b.proven
    ]
    apart = [abs(a.objective - b.objective) / a.objective for a, b in pairs if a.objective and b.objective]
    crossed = sum(
        a.bound is not None and b.objective is not None and a.bound > b.objective * (1 + 1e-6)
        for group in by_instance.values()
        for a in group
        for b in group
    )
    engines = dict.fromkeys(record.engine for record in records)
    return [
        "## Agreement of the engines",
        "",
        f"{len(by_instance)} generated blocks of {min(r.n for r in records)}–{max(r.n for r in records)} weights (all "
        f"families, dampings 1e-2 … 1e-4, sparsities 0.5 … 0.9), at most {rows[0]['time_limit']:g} wall seconds each.",
        f"Pairs of engines that both proved a block: {len(pairs)}; of those more than {SAME:g} apart: "
        f"{sum(x > SAME for x in apart)} (largest difference {short(max(apart, default=0.0))}).",
        f"Bounds above another engine's objective: {crossed}.",
        "",
        *table(
            ["engine", "proven", "best objective held", "median CPU s"],
            [
                [
                    engine,
                    f"{sum(r.proven for r in records if r.engine == engine)}/{len(by_instance)}",
                    sum(_holds_best(group, engine) for group in by_instance.values()),
                    _median_cpu([r for r in records if r.engine == engine]),
                ]
                for engine in engines
            ],
        ),
    ]


def _holds_best(group: Sequence[Record], engine: str) -> bool:
    best = min(record.objective for record in group if record.objective is not None)
    return any(r.engine == engine and r.objective is not None and r.objective <= best * (1 + SAME) for r in group)


LIMIT_RULE = """\
Gurobi 13 (restricted licence, `joint-bigm`, Threads=1) runs in turn with bnb, in the same process. It is stopped
after 20 times what bnb took or more, never before {limit:g} wall seconds (each row has its own limit); a run that is
stopped counts as the processor time it used, so that its ratio (≥) understates the difference."""


def _blocks(rows: Sequence[Row]) -> list[str]:
    mine = [row for row in rows if row["engine"] == "bnb"]
    equal = sum(abs(row["objective"] - row["optimum"]) <= 1e-6 * row["optimum"] for row in mine)
    proven = sum(row["status"] == "optimal" for row in mine)
    cpu, wall = (max(row[clock] for row in mine) for clock in ("cpu", "seconds"))
    return [
        "## Blocks with known optima, and Gurobi on them",
        "",
        f"bnb proved {proven} of {len(mine)}, {equal} of its values equal to the stored optimum (1e-6); slowest "
        f"{short(cpu)} CPU s, {short(wall)} s.",
        *_against(rows, worst=5),
    ]


def _families(rows: Sequence[Row]) -> list[str]:
    return ["## Generated blocks, against Gurobi", *_against(rows, worst=10)]


def _against(rows: Sequence[Row], worst: int) -> list[str]:
    records = [_record(row) for row in rows]
    found = ratios(records, "bnb", "gurobi")
    lines = ["", LIMIT_RULE.format(limit=min(row["time_limit"] for row in rows)), ""]
    body = []
    for n in [*sorted({record.n for record in records}), None]:
        chosen = [record for record in records if n is None or record.n == n]
        names = {record.instance for record in chosen}
        part = [row for row in found if row["instance"] in names]
        bnb, other = ([r for r in chosen if r.engine == engine] for engine in ("bnb", "gurobi"))
        body.append(
            [
                "all" if n is None else n,
                len(bnb),
                sum(r.proven for r in bnb),
                sum(r.proven for r in other),
                _median_cpu(bnb),
                _median_cpu(other),
                short(geometric_mean([row["ratio"] for row in part])),
                part[0]["sign"] + short(part[0]["ratio"]) if part else "",
            ]
        )
    lines += table(
        ["n", "blocks", "bnb proved", "Gurobi proved", "median CPU s: bnb", "Gurobi", "geometric mean", "worst ratio"],
        body,
    )
    lines += ["", f"bnb slower on {sum(row['ratio'] < 1 for row in found)} of {len(found)}. The smallest ratios:", ""]
    return lines + table(
        ["block", "bnb CPU s", "Gurobi CPU s", "ratio"],
        [
            [row["instance"], short(row["seconds"]), short(row["reference"]), row["sign"] + short(row["ratio"])]
            for row in found[:worst]
        ],
    )


def _median_cpu(records: Sequence[Record]) -> str:
    return short(statistics.median(record.cpu or 0.0 for record in records))


def _chunks(rows: Sequence[Row]) -> list[str]:
    keys = ("seconds", "cpu", "nodes", "gap")
    return [
        "## Fisher blocks of 100–128 weights, damping 1e-3",
        "",
        "Chunks of MLPNet's empirical Fisher (m = 1000), another draw of samples and place for every seed; at most "
        f"{rows[0]['time_limit']:g} wall seconds.",
        "",
        *table(
            ["chunk", "engine", "s", "CPU s", "nodes", "gap", "status"],
            [[row["instance"], row["engine"], *(short(row[key]) for key in keys), row["status"]] for row in rows],
        ),
    ]


def _cold(rows: Sequence[Row]) -> list[str]:
    keys = ["import", "first ever", "first in a process", "second"]
    body = [["wall", *(short(rows[0][key]) for key in keys)], ["CPU", *(short(rows[0]["cpu"][key]) for key in keys)]]
    return [
        "## First calls of bnb",
        "",
        "Seconds; *first ever* compiles the kernels, *first in a process* finds them on disk.",
        "",
        *table(["clock", *keys], body),
    ]


def _memory(rows: Sequence[Row]) -> list[str]:
    row = rows[0]
    return [
        "## Memory",
        "",
        f"{row['instance']}, stopped after {row['seconds']:.1f} s ({row['termination']}): {row['nodes']:,} nodes, "
        f"objective {row['objective']:.6g}, bound {row['bound']:.6g}, gap {row['gap']:.3g}, {row['status']}; at most "
        f"{row['peak_bytes'] / 2**20:.0f} MiB held by the process.",
    ]


SECTIONS = {
    "blocks": _blocks,
    "families": _families,
    "chunks": _chunks,
    "agreement": _agreement,
    "fuzz": _fuzz,
    "bounds": _bounds,
    "cold": _cold,
    "memory": _memory,
}


def _record(row: Row) -> Record:
    return Record(**{field.name: row[field.name] for field in fields(Record)})
