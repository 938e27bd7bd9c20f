"""Computes everything that a report of a batch says; terminal, files and page only show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from cbs_opt.report.broken import BrokenBound, broken_bounds
from cbs_opt.report.measures.curves import GapCurve, gap_curve, moments, own_gap
from cbs_opt.report.measures.profile import Profile, cost_ratios, excess_ratios, profile
from cbs_opt.report.measures.quantiles import quantiles
from cbs_opt.report.measures.sizes import SizeBin, by_size, size_edges
from cbs_opt.report.networks import Network, NetworkGap, find_networks, layer_gaps, network_gaps
from cbs_opt.report.read import read_records
from cbs_opt.report.records import Records
from cbs_opt.report.summary import Summary, summaries
from cbs_opt.store import Store

ABOUT_THE_MODEL = (
    "Gaps are about the quadratic model of the loss, not about accuracy: they say how much lower the model's loss "
    "could be with the best possible mask."
)
SHORTEST = 1e-5
"""Shorter times count as this many seconds in performance profiles, where a time of 0 would make ratios infinite."""


@dataclass(frozen=True, eq=False)
class Profiles:
    """Performance profiles of the methods for one request, on the problems that all of them have finished.

    In ``time`` the cost is the time until an answer that is proven optimal, in ``objective`` it is the objective of
    the answer.
    """

    asked: str
    problems: int
    time: Mapping[str, Profile]
    objective: Mapping[str, Profile]


@dataclass(frozen=True, eq=False)
class EndPoints:
    """What is shown of a method that reports nothing while it runs.

    ``seconds`` are the quartiles of its times; ``median`` and ``most`` the median and the 90 % quantile of its gaps.
    """

    seconds: tuple[float, float, float]
    median: float
    most: float
    searches: int


@dataclass(frozen=True, eq=False)
class BatchReport:
    """Everything that a report of a batch says; each part is described in the module that its class is from."""

    records: Records
    networks: tuple[Network, ...]
    summaries: tuple[Summary, ...]
    network_gaps: tuple[NetworkGap, ...]
    layer_gaps: tuple[NetworkGap, ...]
    broken: tuple[BrokenBound, ...]
    profiles: tuple[Profiles, ...]
    curves: Mapping[tuple[str, str], GapCurve | EndPoints]
    """The gap against time, by method and request."""
    sizes: Mapping[tuple[str, str], tuple[SizeBin, ...]]
    """The gap against block size, by method and request; ``worst_at`` is a row of ``records``."""
    created: str
    not_measured: tuple[str, ...] = ()
    """Networks whose accuracy was asked for and could not be measured, and why."""

    @property
    def exit_code(self) -> int:
        """1 if a bound is broken, so that something in the store is wrong, else 0; failed tasks do not count."""
        return 1 if self.broken else 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out of the report, in sentences."""
        return (*(network.note for network in self.networks if network.note), *self.not_measured)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The networks in which λ dominates the curvature, so that gaps say little about the network, in sentences."""
        told = [(network.name or "blocks of no network", network.warning) for network in self.networks]
        return tuple(f"{name}: {warning}" for name, warning in told if warning)

    def reasons(self) -> dict[str, int]:
        """How many tasks failed for each reason, the most frequent first."""
        records = self.records
        return dict(Counter(records.reason[row] for row in np.flatnonzero(~records.done)).most_common())

    def counts(self) -> dict[str, int]:
        """How many blocks, weights, results, failures, proofs and broken bounds the whole store has."""
        records = self.records
        done = int(records.done.sum())
        return {
            "blocks": len(records.blocks),
            "weights": int(records.blocks.n.sum()),
            "results": len(records),
            "done": done,
            "failed": len(records) - done,
            "proven": int(records.proven.sum()),
            "broken": len(self.broken),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without a line for each block: the CSV files have these."""
        return {
            "store": self.records.source,
            "created": self.created,
            **self.counts(),
            "methods": list(self.records.methods),
            "asked": list(self.records.asked),
            "summaries": [summary.to_dict() for summary in self.summaries],
            "networks": [gap.to_dict() for gap in self.network_gaps],
            "layers": [gap.to_dict() for gap in self.layer_gaps],
            "broken_bounds": [bound.to_dict() for bound in self.broken],
            "reasons": self.reasons(),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "profiles": [
                {
                    "asked": profiles.asked,
                    "problems": profiles.problems,
                    "time": {name: _steps(curve) for name, curve in profiles.time.items()},
                    "objective": {name: _steps(curve) for name, curve in profiles.objective.items()},
                }
                for profiles in self.profiles
            ],
            "environments": [dict(environment) for environment in self.records.environments],
        }


def _steps(curve: Profile) -> dict[str, Any]:
    return {"ratio": curve.ratios, "share": curve.shares}


def build_report(store: Store) -> BatchReport:
    """Read the store as it is now, and compute everything that the report says.

    Raises
    ------
    StoreError
        The store cannot be read.
    """
    records = read_records(store)
    networks = find_networks(records)
    return BatchReport(
        records=records,
        networks=networks,
        summaries=summaries(records),
        network_gaps=tuple(gap for network in networks for gap in network_gaps(records, network)),
        layer_gaps=tuple(gap for network in networks if network.name for gap in layer_gaps(records, network)),
        broken=broken_bounds(records),
        profiles=tuple(_profiles(records, request) for request in range(len(records.asked))),
        curves=_curves(records, store),
        sizes=_sizes(records),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _profiles(records: Records, request: int) -> Profiles:
    """The profiles for one request, over the problems that every method has finished: waiting is not failing."""
    rows = {method: records.of(method, request) for method in range(len(records.methods))}
    present = [method for method in rows if len(rows[method])]
    finished = np.ones(len(records.blocks), dtype=bool)
    for method in present:
        finished &= np.isin(np.arange(len(records.blocks)), records.block[rows[method]])
    solved = np.where(records.proven, np.maximum(records.seconds, SHORTEST), np.inf)
    solved = np.where(np.isnan(solved), np.inf, solved)
    times = np.array([records.at_blocks(rows[m], solved, np.inf)[finished] for m in present]).T
    objectives = np.array([records.at_blocks(rows[m], records.objective, np.nan)[finished] for m in present]).T
    time, objective = cost_ratios(times), excess_ratios(objectives)
    names = [records.methods[method] for method in present]
    return Profiles(
        asked=records.asked[request],
        problems=int(finished.sum()),
        time={name: profile(time[:, column]) for column, name in enumerate(names)},
        objective={name: profile(objective[:, column]) for column, name in enumerate(names)},
    )


def _curves(records: Records, store: Store) -> dict[tuple[str, str], GapCurve | EndPoints]:
    """For each method and request a curve, if the method reported while it searched, else its end points.

    A search that ended before its first report counts from its end on, with its own bound; if such searches were left
    out, only the long ones would be shown.
    """
    traces = _traces(records, store)
    found: dict[tuple[str, str], GapCurve | EndPoints] = {}
    for request, asked in enumerate(records.asked):
        for method, name in enumerate(records.methods):
            rows = [int(row) for row in records.of(method, request) if records.done[row]]
            traced = [row for row in rows if row in traces and not np.isnan(records.seconds[row])]
            if traced:
                searches = [traces.get(row, end) for row in rows if (end := _end(records, row))]
                first = min(float(seconds[0]) for seconds, _ in searches)
                last = max(float(seconds[-1]) for seconds, _ in searches)
                curve = gap_curve(moments(first, last), searches)
                found[name, asked] = replace(curve, reported=len(traced))
            elif rows:
                ends = _ends(records, np.array(rows, dtype=np.intp))
                if ends is not None:
                    found[name, asked] = ends
    return found


def _end(records: Records, row: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """The end of a search as a trace of one point; None if its time is unknown."""
    last = slice(row, row + 1)
    if np.isnan(records.seconds[row]):
        return None
    return records.seconds[last], own_gap(records.objective[last], records.bound[last])


def _traces(records: Records, store: Store) -> dict[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The trace of each row that has one: seconds and the search's own gap, with the end of the search."""
    rows = {int(number): row for row, number in enumerate(records.identity) if records.done[row]}
    traces: dict[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = {}
    points: list[tuple[float, float, float]] = []
    current: int | None = None

    def finish() -> None:
        row = rows.get(current) if current is not None else None
        if row is None or not points:
            return
        end = float(records.seconds[row])
        last = (end, float(records.objective[row]), float(records.bound[row]))
        seconds, incumbent, bound = np.array([*points, last] if end >= points[-1][0] else points).T
        traces[row] = (seconds, own_gap(incumbent, bound).astype(np.float32))

    for number, point in store.traces():
        if number != current:
            finish()
            current = number
            points.clear()
        incumbent = np.nan if point.incumbent is None else point.incumbent
        points.append((point.seconds, incumbent, np.nan if point.bound is None else point.bound))
    finish()
    return traces


def _ends(records: Records, rows: np.ndarray[Any, Any]) -> EndPoints | None:
    gap, seconds = records.gap[rows], records.seconds[rows]
    usable = ~np.isnan(gap) & ~np.isnan(seconds)
    if not usable.any():
        return None
    low, middle, high = quantiles(seconds[usable], (0.25, 0.5, 0.75))
    median, most = quantiles(gap[usable], (0.5, 0.9))
    return EndPoints((low, middle, high), median, most, int(usable.sum()))


def _sizes(records: Records) -> dict[tuple[str, str], tuple[SizeBin, ...]]:
    size = records.blocks.n[records.block]
    usable = records.done & ~np.isnan(records.gap)
    edges = size_edges(size[usable])
    found = {}
    for request, asked in enumerate(records.asked):
        for method, name in enumerate(records.methods):
            rows = records.of(method, request)
            rows = rows[usable[rows]]
            bins = by_size(size[rows], records.gap[rows], edges)
            if bins:
                found[name, asked] = tuple(replace(bin_, worst_at=int(rows[bin_.worst_at])) for bin_ in bins)
    return found
