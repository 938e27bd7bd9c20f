"""Perplexity against mean layer error: a panel for each pattern."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.llm.analysis import Point, agreement, patterns_of
from benchmarks.llm.answer import FIGURES, in_words
from benchmarks.llm.selectors import SELECTORS
from cbs_opt.kernel.files import write_whole
from cbs_opt.report.style import COLOURS, MATPLOTLIB

MARKERS = dict(zip(SELECTORS, "osv^PXD*", strict=True))

SPREAD = 5.0
"""The largest value over the smallest one, from which on an axis is logarithmic."""


def plot(points: Sequence[Point], path: Path) -> None:
    """One marker per network."""
    import matplotlib

    with matplotlib.rc_context(MATPLOTLIB):
        figure = _figure(points)
        write_whole(path, lambda stream: figure.savefig(stream, format="png", dpi=140, facecolor="white"))


def _figure(points: Sequence[Point]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    name, of = next(iter(FIGURES.items()))
    known = [point for point in points if math.isfinite(of(point))]
    patterns = patterns_of(known)
    figure = Figure(figsize=(1.5 + 2.8 * max(1, len(patterns)), 4.0), layout="constrained")
    found = [agreement([point for point in known if point.pattern == pattern], of) for pattern in patterns]
    right, pairs = sum(one.right for one in found), sum(one.pairs for one in found)
    figure.suptitle(f"The lower {name} is the better model in {right} of {pairs} pairs", x=0.01, ha="left")
    panels = figure.subplots(1, max(1, len(patterns)), squeeze=False)[0]
    for axes, pattern in zip(panels, patterns, strict=False):
        drawn = [p for p in known if p.pattern == pattern]
        for p in drawn:
            style: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.6, "markersize": 8}
            axes.plot(of(p), p.perplexity, MARKERS[p.selector], color=_colour(p.selector), **style)
        axes.set(title=in_words(pattern), xlabel=f"mean {name}")
        _scale(axes.yaxis, axes.set_yscale, [p.perplexity for p in drawn])
        _scale(axes.xaxis, axes.set_xscale, [of(p) for p in drawn])
    panels[0].set_ylabel("perplexity")
    present = {point.selector for point in points}
    keys = [
        Line2D([], [], marker=MARKERS[name], linestyle="", color=_colour(name), label=name)
        for name in SELECTORS
        if name in present
    ]
    if keys:
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    return figure


def _scale(axis: Any, set_scale: Callable[[str], None], values: Sequence[float]) -> None:
    """Plain numbers at the ticks; logarithmic where the values spread."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    if values and max(values) > SPREAD * min(values) > 0:
        set_scale("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter("{x:,g}")


def _colour(selector: str) -> str:
    return COLOURS[list(SELECTORS).index(selector) % len(COLOURS)]
