"""The page of what was recorded: root relaxations block by block, solvers formulation by formulation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from benchmarks import recording
from benchmarks.exact.summary import geometric_mean, short, table
from benchmarks.formulations.measure import FORMULATIONS, SOLVERS
from benchmarks.recording import Row

INTRODUCTION = """\
# Formulations × solvers

Written by `python -m benchmarks.formulations`; every row is in [formulations.jsonl](formulations.jsonl). Generated
blocks (`benchmarks/exact/families.py`), damping 1e-3 of the mean diagonal, 80 % pruned or 2:4. Each model is what
`by_name(NAME).build(problem)` gives by default, in normalized units; solvers take it as it is written, on one thread,
to a gap of 1e-4. The engines `highs-oa`, `scip` and `gurobi` of this package do more: a better incumbent for the box
and as the start, squares taken apart for SCIP. `bnb` takes milliseconds for each of these blocks. The machine was
shared: processor seconds count, and a time limit is one of wall seconds."""


def write_page(rows: Sequence[Row], folder: Path) -> Path:
    """Write ``formulations.md``; return where."""
    return recording.write_page(folder / "formulations.md", INTRODUCTION, {"formulations": _both}, rows)


def _both(rows: Sequence[Row]) -> list[str]:
    return [*_roots(rows), "", *_solvers(rows)]


def _roots(rows: Sequence[Row]) -> list[str]:
    roots = [row for row in rows if row["solver"] == "root"]
    found = {(row["instance"], row["formulation"]): row for row in roots}
    names = [name for name in FORMULATIONS if any(row["formulation"] == name for row in roots)]
    body = [
        [instance, *(_root(found.get((instance, name))) for name in names)]
        for instance in dict.fromkeys(row["instance"] for row in roots)
    ]
    return [
        "## Root relaxation over the optimum",
        "",
        "With 0 ≤ z ≤ 1, before any cut or branching; 1 would be proven at once. Joint models over the joint optimum,",
        "selection models over that of the selection. With ≥: the lower bound that SCIP reached in four minutes, where",
        "Gurobi's restricted licence does not allow so many variables; empty: not measured.",
        "",
        *table(["block", *names], body),
    ]


def _root(row: Row | None) -> str:
    if row is None or row.get("bound") is None:
        return ""
    return ("≥ " if row.get("by") == "scip" else "") + f"{row['bound']:.2f}".replace("-0.00", "0.00")


def _solvers(rows: Sequence[Row]) -> list[str]:
    runs = [row for row in rows if row["solver"] != "root"]
    limit = max((row["time_limit"] for row in runs), default=0)
    body = []
    for name, solver in product(FORMULATIONS, SOLVERS):
        mine = [row for row in runs if (row["formulation"], row["solver"]) == (name, solver)]
        ran = [row for row in mine if row.get("seconds") is not None]
        if not ran:
            continue
        open_ = [row["bound"] for row in ran if row["status"] == "time limit" and row["bound"] is not None]
        body.append(
            [
                name,
                mine[0]["class"],
                solver,
                f"{sum(row['status'] == 'proven' for row in ran)}/{len(mine)}",
                short(statistics.median(row["nodes"] for row in ran)),
                short(geometric_mean([max(row["cpu"], 1e-3) for row in ran])),
                short(statistics.median(open_), 2) if open_ else "",
                sum(row["status"] == "bound too high" for row in ran) or "",
            ]
        )
    head = [
        "formulation",
        "class",
        "solver",
        "proven",
        "nodes",
        "CPU s",
        "bound where it was not",
        "bound too high",
    ]
    return [
        "## Solvers",
        "",
        f"Blocks proven within {short(limit)} s of all there are, the median of the nodes, the geometric mean of",
        "processor seconds (a stopped run counts with what it took), the median bound over the optimum of the runs",
        "that were stopped, and how many stated a bound more than 1e-3 above the optimum. A pair without a row cannot",
        "be: HiGHS takes the MILP only.",
        "",
        *table(head, body),
    ]
