"""The charts of a batch's page as data: a few hundred numbers each, whatever the number of blocks.

A chart has panels, one for each request (and choice), and the script in the page draws the one that is chosen there.
If points were thinned out or put together, the chart's note says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cbs_opt.kernel.result import GAP_TOLERANCE
from cbs_opt.kernel.words import shown
from cbs_opt.report.build import BatchReport, EndPoints
from cbs_opt.report.measures.profile import MOST_STEPS, Profile
from cbs_opt.report.networks import BEST, Network, NetworkGap
from cbs_opt.report.style import COLOURS

Chart = dict[str, Any]

MOST_LAYERS = 100
"""The most rows of a heat map; of a network with more layers, those with the largest gaps are shown."""

MOST_FIELDS = 10_000
"""The most fields of the heat maps of places for one request; beyond that, only the best answers are shown."""

PARTS = 32
"""How many parts a layer is cut into in the heat map of places."""

NAME_LENGTH = 80


def charts(report: BatchReport) -> dict[str, Any]:
    """All charts that have something to show, with the names of requests and methods that they share."""
    drawn = [_time_profile(report), _objective_profile(report), _curves(report), _sizes(report)]
    for network in report.networks:
        if network.name:
            drawn += [_layers(report, network), _places(report, network)]
    return {
        "asked": [shown(asked, NAME_LENGTH) for asked in report.records.asked],
        "methods": [shown(method, NAME_LENGTH) for method in report.records.methods],
        "colours": list(COLOURS),
        "charts": [chart for chart in drawn if chart["panels"]],
    }


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that can stand inside a ``script`` element: no character of it can end the element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def number(value: float) -> float | None:
    """A number with four digits; None if it is unknown or infinite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _numbers(values: Sequence[float] | np.ndarray[Any, Any]) -> list[float | None]:
    return [number(float(value)) for value in values]


# ---------------------------------------------------------------- curves


def _time_profile(report: BatchReport) -> Chart:
    panels = []
    for request, profiles in enumerate(report.profiles):
        series = [
            {"m": report.records.methods.index(name), **_steps(curve, 0.0)} for name, curve in profiles.time.items()
        ]
        panels.append({"asked": request, "note": _finished(profiles.problems), "series": series})
    return {
        "kind": "lines",
        "id": "profile-time",
        "title": "Performance profile: time to a proven optimum",
        "caption": "The share of blocks for which a method's answer is proven optimal (by its own bound or another "
        "method's), within this factor of the time of the fastest method that has such an answer. Left edge: how "
        "often it is the fastest; right edge: how often it gets there at all (Dolan & Moré, 2002).",
        "x": {"label": "time, relative to the fastest", "scale": "log", "unit": "factor"},
        "y": {"label": "share of blocks", "scale": "share", "unit": "percent"},
        "step": True,
        "panels": panels,
    }


def _objective_profile(report: BatchReport) -> Chart:
    panels = []
    for request, profiles in enumerate(report.profiles):
        if len(profiles.objective) < 2:
            continue  # a single method is always the best
        series = [
            {"m": report.records.methods.index(name), **_steps(curve, 1.0)}
            for name, curve in profiles.objective.items()
        ]
        panels.append({"asked": request, "note": _finished(profiles.problems), "series": series})
    return {
        "kind": "lines",
        "id": "profile-objective",
        "title": "Performance profile: quality of the answers",
        "caption": "The share of blocks on which a method's objective is within this distance of the best answer of "
        "any method. Left edge: how often it has the best one.",
        "x": {"label": "objective above the best answer", "scale": "zero", "unit": "percent", "floor": GAP_TOLERANCE},
        "y": {"label": "share of blocks", "scale": "share", "unit": "percent"},
        "step": True,
        "panels": panels,
    }


def _steps(curve: Profile, subtract: float) -> dict[str, list[float | None]]:
    return {"x": _numbers(curve.ratios - subtract), "y": _numbers(curve.shares)}


def _finished(problems: int) -> str:
    over = "the one block" if problems == 1 else f"the {problems:,} blocks"
    return (
        f"Over {over} that every method has finished, with or without an answer; curves of more than {MOST_STEPS} "
        "steps are thinned to that."
    )


def _curves(report: BatchReport) -> Chart:
    panels = []
    for request, asked in enumerate(report.records.asked):
        series: list[dict[str, Any]] = []
        searches, traced, ended = 0, 0, 0
        for method, name in enumerate(report.records.methods):
            curve = report.curves.get((name, asked))
            if curve is None:
                continue
            if isinstance(curve, EndPoints):
                low, middle, high = _numbers(curve.seconds)
                points = {"x": [middle], "y": [number(curve.median)], "hi": [number(curve.most)], "spread": [low, high]}
                ended += 1
            else:
                points = {
                    name: _numbers(values)
                    for name, values in (("x", curve.seconds), ("y", curve.median), ("hi", curve.most))
                }
                searches += curve.searches
                traced += curve.reported
            series.append({"m": method, **points})
        if traced:  # if no search reported, there is no gap against time, only ends
            parts = [
                f"Curves over {searches:,} searches, of which {traced:,} reported on their way; the others "
                "count from their end on."
            ]
            parts += ["Dots: methods that only have an end."] if ended else []
            panels.append({"asked": request, "note": " ".join(parts), "series": series})
    return {
        "kind": "lines",
        "id": "curves",
        "title": "Gap against time",
        "caption": "The median gap of the blocks while they are being solved; the band reaches up to what nine of ten "
        "blocks have. Along a curve it is the search's own incumbent against its own bound, as it reported them. A dot "
        "is where a method without such reports ended: the median gap to the best bound of any method; the bars are "
        "the middle half of its times, and up to the gap nine of ten blocks have.",
        "x": {"label": "time", "scale": "log", "unit": "seconds"},
        "y": {"label": "gap", "scale": "zero", "unit": "percent", "floor": GAP_TOLERANCE},
        "panels": panels,
    }


def _sizes(report: BatchReport) -> Chart:
    records = report.records
    edges = sorted({(b.smallest, b.largest) for bins in report.sizes.values() for b in bins})
    panels = []
    for request, asked in enumerate(records.asked):
        series = []
        for method, name in enumerate(records.methods):
            bins = report.sizes.get((name, asked), ())
            if bins:
                worst = [shown(records.blocks.name[records.block[b.worst_at]], NAME_LENGTH) for b in bins]
                series.append(
                    {
                        "m": method,
                        "x": [edges.index((b.smallest, b.largest)) for b in bins],
                        "y": _numbers([b.median for b in bins]),
                        "lo": _numbers([b.low for b in bins]),
                        "hi": _numbers([b.high for b in bins]),
                        "worst": _numbers([b.worst for b in bins]),
                        "at": worst,
                        "blocks": [b.blocks for b in bins],
                    }
                )
        if series and len(edges) > 1:  # of one size there is nothing to compare
            panels.append({"asked": request, "note": "", "series": series})
    return {
        "kind": "ranges",
        "id": "sizes",
        "title": "Gap against block size",
        "caption": "Blocks of a size together, not one by one: dot, the median gap to the best bound; bar, from the "
        "tenth to the ninetieth of a hundred blocks; ring, the worst block. On the bottom line answers are proven "
        "optimal; blocks without a bound stand on the top line.",
        "x": {
            "label": "weights of the block, on a logarithmic axis",
            "categories": [_size(*edge) for edge in edges],
            "at": [math.log(a * b) for a, b in edges],
        },
        "y": {"label": "gap", "scale": "zero", "unit": "percent", "floor": GAP_TOLERANCE},
        "panels": panels,
    }


def _size(smallest: int, largest: int) -> str:
    return f"{smallest}" if smallest == largest else f"{smallest}–{largest}"


# ---------------------------------------------------------------- heat maps


def _layers(report: BatchReport, network: Network) -> Chart:
    """The heat map of layers × methods."""
    lines = [gap for gap in report.layer_gaps if gap.network == network.name]
    layers, note = _most_open(report, network)
    methods = [name for name in (BEST, *report.records.methods) if any(gap.method == name for gap in lines)]
    measures: dict[str, tuple[Callable[[NetworkGap], float], str]] = {
        "gap": (lambda gap: gap.sums.partial_gap, "gap"),
        "worst block": (lambda gap: gap.worst_gap, "gap"),
        "not proven": (lambda gap: 1 - gap.proven / gap.sums.blocks, "share"),
        "time": (lambda gap: gap.seconds, "seconds"),
    }
    panels = []
    for request, asked in enumerate(report.records.asked):
        at = {(gap.layer, gap.method): gap for gap in lines if gap.asked == asked}
        if not at:
            continue
        counted = [[_counted(at.get((layer, m))) for m in methods] for layer in layers]
        for choice, (measure, unit) in measures.items():
            cells = [[number(measure(at[layer, m])) if (layer, m) in at else None for m in methods] for layer in layers]
            panels.append(
                {
                    "asked": request,
                    "choice": choice,
                    "unit": unit,
                    "note": note,
                    "rows": [shown(layer, NAME_LENGTH) for layer in layers],
                    "columns": [shown(method, NAME_LENGTH) for method in methods],
                    "cells": cells,
                    "at": counted,
                }
            )
    return {
        "kind": "heat",
        "id": "layers",
        "title": f"Layer by layer: {shown(network.name, NAME_LENGTH)}",
        "caption": "Each layer's sums, in its own unit, over those of its blocks that have an answer and a bound; "
        "pointing at a field says how many these are if not all.",
        "panels": panels,
    }


def _counted(gap: NetworkGap | None) -> str:
    """'3 of 4 blocks', if the sums of a layer are not over all its blocks; else the empty string."""
    if gap is None or not gap.sums.missing:
        return ""
    return f"{gap.sums.blocks - gap.sums.missing:,} of {gap.sums.blocks:,} blocks"


def _places(report: BatchReport, network: Network) -> Chart:
    """The heat map of layers × places in the layer, which shows where the open blocks are."""
    records = report.records
    layers, note = _most_open(report, network)
    places = network.layers()
    panels = []
    for request in range(len(records.asked)):
        gaps = {BEST: records.best_gaps(request)}
        for method, name in enumerate(records.methods):
            rows = records.of(method, request)
            gaps[name] = records.at_blocks(rows[records.done[rows]], records.gap, np.nan)
        answered = {name: gap for name, gap in gaps.items() if not np.isnan(gap[network.blocks]).all()}
        # Of a single method the best answers are its own; more than MOST_FIELDS would make the page a heavy one.
        several = len(answered) > 2 and len(answered) * len(layers) * PARTS <= MOST_FIELDS
        for name, gap in answered.items() if several else [*answered.items()][:1]:
            lines = [_along(report, network, places[layer], gap) for layer in layers]
            panels.append(
                {
                    "asked": request,
                    "choice": shown(name, NAME_LENGTH),
                    "unit": "gap",
                    "note": f"{note} Every layer is cut into {PARTS} parts of equal length.".strip(),
                    "rows": [shown(layer, NAME_LENGTH) for layer in layers],
                    "columns": [],
                    "cells": [values for values, _ in lines],
                    "at": [names for _, names in lines],
                }
            )
    return {
        "kind": "heat",
        "id": "places",
        "title": f"Where in the layers: {shown(network.name, NAME_LENGTH)}",
        "caption": "From the first weight of a layer (left) to its last: the gap that is left between the best answer, "
        "or that of one method, and the best bound of any; of several blocks in one place, the largest. "
        "Without colour: a block without an answer or without a bound.",
        "panels": panels,
    }


def _along(
    report: BatchReport, network: Network, positions: np.ndarray[Any, Any], gap: np.ndarray[Any, Any]
) -> tuple[list[float | None], list[str]]:
    """The largest gap in each part of a layer (None: a block lacks answer or bound), and that block if it is open."""
    blocks = report.records.blocks
    first, mine = network.first[positions], network.blocks[positions]
    length = int((first + blocks.n[mine]).max())
    worst, names = np.full(PARTS, -np.inf), [""] * PARTS
    for begin, block in zip(first, mine, strict=True):
        value = np.inf if np.isnan(gap[block]) else gap[block]
        # A block covers every part that it reaches into.
        low = int(begin) * PARTS // max(length, 1)
        high = max(low, (int(begin + blocks.n[block]) * PARTS - 1) // max(length, 1))
        for part in range(low, min(high, PARTS - 1) + 1):
            if value > worst[part]:
                worst[part] = value
                names[part] = shown(blocks.name[block], NAME_LENGTH) if value > GAP_TOLERANCE else ""
    return [number(value) for value in worst], names


def _most_open(report: BatchReport, network: Network) -> tuple[list[str], str]:
    """The layers to show, in the order of the network, and a note on those that are not shown."""
    layers = list(network.layers())
    if len(layers) <= MOST_LAYERS:
        return layers, ""
    worst: dict[str, float] = {}
    for gap in report.layer_gaps:
        if gap.network == network.name and math.isfinite(gap.worst_gap):
            worst[gap.layer] = max(gap.worst_gap, worst.get(gap.layer, 0.0))
    chosen = set(sorted(layers, key=lambda layer: -worst.get(layer, 0.0))[:MOST_LAYERS])
    note = f"The {MOST_LAYERS} layers with the largest gaps of {len(layers)}; all of them are in layers.csv."
    return [layer for layer in layers if layer in chosen], note
