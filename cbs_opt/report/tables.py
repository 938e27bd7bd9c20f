"""The report as plain tables, column by column, as the CSV and Parquet files hold them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cbs_opt.report.build import BatchReport, EndPoints

Table = dict[str, Sequence[Any]]
"""Columns by name, all of the same length; None stands for what is unknown."""


def tables(report: BatchReport) -> dict[str, Table]:
    """Every table, by the name of its file; `docs/reports.md` describes the columns."""
    made = (
        _results(report),
        _summary(report),
        _rows([line.to_dict() for line in report.network_gaps], NETWORK),
        _rows([line.to_dict() for line in report.layer_gaps], NETWORK),
        _profiles(report),
        _curves(report),
        _sizes(report),
        _failures(report),
        _rows([bound.to_dict() for bound in report.broken], BROKEN),
    )
    return dict(zip(NAMES, made, strict=True))


NAMES = ("results", "summary", "networks", "layers", "profiles", "curves", "sizes", "failures", "broken_bounds")
NETWORK = (
    "network",
    "layer",
    "asked",
    "method",
    "blocks",
    "weights",
    "without_answer",
    "without_bound",
    "without_unit",
    "broken",
    "objective",
    "bound",
    "relative_to_removal",
    "gap",
    "partial_gap",
    "proven",
    "worst_gap",
    "seconds",
    "accuracy",
    "accuracy_dense",
    "missing",
)
BROKEN = ("block", "asked", "problem", "prover", "bound", "method", "objective")


def _rows(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Table:
    return {column: [row[column] for row in rows] for column in columns}


def _known(values: np.ndarray[Any, Any]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _results(report: BatchReport) -> Table:
    """One row for each result, done or failed."""
    records, blocks = report.records, report.records.blocks
    of = records.block.tolist()
    done = records.done
    return {
        "result": records.identity.tolist(),
        "block": [blocks.name[block] for block in of],
        "content": [blocks.content[block] for block in of],
        "tensor": [blocks.tensor[block] for block in of],
        "first": [int(blocks.first[block]) if blocks.manifest[block] else None for block in of],
        "n": blocks.n[records.block].tolist(),
        "unit": _known(blocks.unit[records.block]),
        "method": [records.methods[method] for method in records.method],
        "asked": [records.asked[request] for request in records.request],
        "done": done.tolist(),
        "objective": _known(records.objective),
        "bound": _known(records.bound),
        "best_bound": _known(np.where(done, records.best, np.nan)),
        "gap": _known(records.gap),
        "proven": records.proven.tolist(),
        "broken": records.broken.tolist(),
        "selection_objective": _known(records.selection_objective),
        "selection_bound": _known(records.selection_bound),
        "status": list(records.status),
        "seconds": _known(records.seconds),
        "nodes": records.nodes.tolist(),
        "reason": list(records.reason),
        "error": list(records.error),
    }


SUMMARY = (
    "method",
    "asked",
    "blocks",
    "done",
    "failed",
    "untried",
    "proven",
    "proven_share",
    "own_proofs",
    "unknown_gap",
    "mean_gap",
    "worst_gap",
    "worst_block",
    "seconds_median",
    "seconds_90",
    "seconds_99",
    "seconds_longest",
    "seconds",
    "wins",
    "sole_wins",
    "broken",
)


def _summary(report: BatchReport) -> Table:
    found = _rows([summary.to_dict() for summary in report.summaries], SUMMARY)
    return {**found, "reasons": [summary.why() for summary in report.summaries]}


def _profiles(report: BatchReport) -> Table:
    """One row for each step of a curve."""
    rows: list[tuple[Any, ...]] = []
    for profiles in report.profiles:
        for cost, curves in (("time", profiles.time), ("objective", profiles.objective)):
            for method, curve in curves.items():
                steps = zip(curve.ratios.tolist(), curve.shares.tolist(), strict=True)
                rows += [(profiles.asked, cost, method, profiles.problems, ratio, share) for ratio, share in steps]
    return _columns(("asked", "cost", "method", "problems", "ratio", "share"), rows)


def _curves(report: BatchReport) -> Table:
    """One row for each moment of a curve, or a single row for a method that has end points only."""
    rows: list[tuple[Any, ...]] = []
    for (method, asked), curve in report.curves.items():
        if isinstance(curve, EndPoints):
            gaps = _known(np.array([curve.median, curve.most]))
            rows.append((asked, method, "end", curve.searches, curve.seconds[1], *gaps))
            continue
        points = zip(_known(curve.seconds), _known(curve.median), _known(curve.most), strict=True)
        rows += [(asked, method, "trace", curve.searches, *point) for point in points]
    return _columns(("asked", "method", "source", "searches", "seconds", "median_gap", "gap_90"), rows)


def _sizes(report: BatchReport) -> Table:
    records = report.records
    rows = [
        (
            asked,
            method,
            size.smallest,
            size.largest,
            size.blocks,
            *_known(np.array([size.low, size.median, size.high, size.worst])),
            records.blocks.name[records.block[size.worst_at]],
        )
        for (method, asked), bins in report.sizes.items()
        for size in bins
    ]
    columns = (
        "asked",
        "method",
        "smallest",
        "largest",
        "blocks",
        "gap_10",
        "gap_median",
        "gap_90",
        "gap_worst",
        "worst_block",
    )
    return _columns(columns, rows)


def _failures(report: BatchReport) -> Table:
    records = report.records
    rows = [
        (
            records.blocks.name[records.block[row]],
            records.methods[records.method[row]],
            records.asked[records.request[row]],
            records.reason[row],
            records.error[row],
        )
        for row in np.flatnonzero(~records.done)
    ]
    return _columns(("block", "method", "asked", "reason", "error"), rows)


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Table:
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}
