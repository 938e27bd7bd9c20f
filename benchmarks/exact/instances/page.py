"""The page of what the engines did on the library: by family and size, and instance by instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks import recording
from benchmarks.exact.measure import Record
from benchmarks.exact.summary import geometric_mean, ratios, short, table
from benchmarks.recording import Row
from cbs_opt.library import instances

INTRODUCTION = """\
# The library of instances: every engine

Written by `python -m benchmarks.exact.instances`; every row is in [instances.jsonl](instances.jsonl), and what the
instances are in [the page of the library](../instances.md). All engines to a gap of 1e-4, on one thread, by turns on
each instance in the same process, the compiled loops loaded beforehand; the model's building counts. Times are of one
run on a machine with other work, in seconds of processor time, so that only their ratios mean something. A time in
brackets is that of a run which ended without a proof, mostly at its time limit: such a run counts with the time it
used, and the ratio (≥) understates the difference. The limit is by the clock, of which other work takes its part, so
that the processor time in brackets may be far below it. No bound contradicted another engine's mask or a published
optimum."""


def write_page(rows: Sequence[Row], folder: Path) -> Path:
    """Write ``instances.md``; return where."""
    return recording.write_page(folder / "instances.md", INTRODUCTION, {"instances": _all}, rows)


def _all(rows: Sequence[Row]) -> list[str]:
    records = [_record(row) for row in rows]
    engines = list(dict.fromkeys(record.engine for record in records))
    limits = sorted({row["time_limit"] for row in rows})
    groups = sorted({(record.family, record.n) for record in records})
    lines = [
        f"Measured so far: {len({record.instance for record in records})} of {len(instances())} instances. Time limit "
        f"{' and '.join(f'{limit:g} s' for limit in limits)}, cbs-opt {rows[-1]['cbs-opt']}.",
        "",
        "## By family and size",
        "",
        "Proven of all, and the geometric mean of the engine's time over that of `bnb` where one of the two proved.",
        "",
        *table(
            [
                "family",
                "n",
                "instances",
                *(f"{engine} proved" for engine in engines),
                *(f"{e} / bnb" for e in engines[1:]),
            ],
            [_group(records, engines, *group) for group in groups] + [_group(records, engines)],
        ),
        "",
        "## Instance by instance",
        "",
        *table(
            ["instance", "n", "asked", "best known", "status", "certified to", *engines],
            [_line(name, records, engines) for name in dict.fromkeys(record.instance for record in records)],
        ),
    ]
    return lines


def _group(
    records: Sequence[Record], engines: Sequence[str], family: str = "all", n: int | None = None
) -> list[object]:
    mine = [r for r in records if family in ("all", r.family) and n in (None, r.n)]
    proved = [sum(r.proven for r in mine if r.engine == engine) for engine in engines]
    compared = [ratios(mine, "bnb", engine) for engine in engines[1:]]
    signs = ["≥" if any(row["sign"] == "≥" for row in rows) else "" for rows in compared]
    means = [geometric_mean([row["ratio"] for row in rows]) for rows in compared]
    return [
        family,
        n or "all",
        len({r.instance for r in mine}),
        *proved,
        *(sign + short(mean) for sign, mean in zip(signs, means, strict=True)),
    ]


def _line(name: str, records: Sequence[Record], engines: Sequence[str]) -> list[object]:
    one = instances()[name]
    known = one.known
    by_engine = {record.engine: record for record in records if record.instance == name}
    return [
        name,
        one.recipe.n,
        one.asked,
        short(known.objective, 9),
        "optimal" if known.optimal else f"gap {_percent((known.objective - known.bound) / abs(known.objective))}",
        _percent(known.certified_gap),
        *(_time(by_engine.get(engine)) for engine in engines),
    ]


def _time(record: Record | None) -> str:
    if record is None or record.cpu is None:
        return ""
    return short(record.cpu) if record.proven else f"({short(record.cpu)})"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _record(row: Row) -> Record:
    return Record(**{field.name: row[field.name] for field in fields(Record)})
