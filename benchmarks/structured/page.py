"""The page of the recorded rows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.recording import Row, write_page

INTRODUCTION = """# Structured pruning: filters removed, a smaller network left

Written by `python -m benchmarks.structured`; every run is in the `.jsonl` file beside this page. A row is a selection
(which filters go first: `joint` by the loss of all of them together after the update, `magnitude` by the norm of their
weights) and an allocation (how many each coupled set keeps: `curves` by HiGHS on the measured losses, `uniform` the
same share of each), at the same budget, on the same calibration images without labels, and re-tuned in the same way.
[How it works](../structured.md)."""

RUN = ("selection", "allocation", "refine")
"""What rows of one line of a table have in common; the rest are seeds."""


def write(path: Path, rows: Sequence[Row]) -> Path:
    """Write the page; return where."""
    return write_page(path, INTRODUCTION, {"shrink": _sections}, rows)


def _sections(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for (network, share, samples), same in _grouped(rows, ("network", "share", "samples")):
        lines += [f"## {network} at {100 * share:g} % of its operations, {samples:,} calibration images", ""]
        lines += [*_accuracies(same), "", *_sizes(same), "", *_kept(same), ""]
    return lines[:-1]


def _grouped(rows: Sequence[Row], names: Sequence[str]) -> list[tuple[Any, list[Row]]]:
    def key(row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in names)

    order = list(dict.fromkeys(map(key, rows)))
    found = {k: list(part) for k, part in groupby(sorted(rows, key=lambda row: order.index(key(row))), key)}
    return [(k, found[k]) for k in order]


def _accuracies(rows: Sequence[Row]) -> list[str]:
    dense = statistics.mean(row["dense"] for row in rows)
    lines = [
        f"Test accuracy in %; dense {100 * dense:.2f}. `refine` is the number of passes that re-tune each block as a",
        "whole, behind the exact update of each layer.",
        "",
        "| selection | allocation | refine | accuracy | BatchNorm estimated anew | loss on the curves | its bound |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for run, same in _grouped(rows, RUN):
        cells = [
            _percent(same, "accuracy"),
            _percent(same, "accuracy_batchnorm"),
            _mean(same, "loss"),
            _mean(same, "bound"),
        ]
        lines.append(f"| {' | '.join((*map(str, run), *cells))} |")
    margins = list(_margins(rows))
    return [*lines, "", *margins] if margins else lines


def _margins(rows: Sequence[Row]) -> list[str]:
    """By how many points ours is above the baseline on the same draws, each with its better statistics."""
    lines = []
    runs = {run: {row["seed"]: _best(row) for row in same} for run, same in _grouped(rows, RUN)}
    for (selection, allocation, refine), ours in runs.items():
        theirs = runs.get(("magnitude", "uniform", refine), {})
        points = [100 * (ours[seed] - theirs[seed]) for seed in ours if seed in theirs]
        if (selection, allocation) == ("joint", "curves") and points:
            lines.append(
                f"With {refine} passes `joint`/`curves` is {statistics.mean(points):.2f} points above "
                f"`magnitude`/`uniform` on the same draws ({len(points)}), each with the better of its two statistics."
            )
    return lines


def _best(row: Row) -> float:
    return max(row["accuracy"], row["accuracy_batchnorm"] or 0.0)


def _sizes(rows: Sequence[Row]) -> list[str]:
    lines = [
        "The rebuilt network beside the masked one (largest difference of their outputs, relative to the largest),",
        "and beside the dense one: operations, parameters and processor time of a batch of 64 images on one thread,",
        "the two networks in turns.",
        "",
        "| selection | allocation | refine | difference | operations | parameters | time | shrinking, CPU s |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for run, same in _grouped(rows, RUN):
        time = statistics.median(row["cpu_small"] / row["cpu_dense"] for row in same)
        cells = [
            f"{max(row['difference'] for row in same):.1e}",
            *(f"{100 * statistics.mean(row[name] for row in same):.1f} %" for name in ("flops", "parameters")),
            f"{100 * time:.0f} %",
            f"{statistics.mean(row['shrinking']['cpu'] for row in same):.0f}",
        ]
        lines.append(f"| {' | '.join((*map(str, run), *cells))} |")
    return lines


def _kept(rows: Sequence[Row]) -> list[str]:
    names = list(rows[0]["kept"])
    lines = [
        "Units kept of each coupled set (the first seed): "
        + ", ".join(f"`{name}` of {rows[0]['kept'][name][1]}" for name in names)
        + ".",
        "",
    ]
    for (selection, allocation), same in _grouped(rows, RUN[:2]):
        lines.append(f"- {selection}/{allocation}: {', '.join(str(same[0]['kept'][name][0]) for name in names)}")
    return lines


def _percent(rows: Sequence[Row], name: str) -> str:
    values = [100 * row[name] for row in rows if row[name] is not None]
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.2f} ({len(values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def _mean(rows: Sequence[Row], name: str) -> str:
    values = [row[name] for row in rows if row[name] is not None]
    return f"{statistics.mean(values):.4g}" if values else "–"
