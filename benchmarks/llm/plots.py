"""Perplexity against mean layer error and mean gap: a column of panels for each pattern."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.llm.analysis import Point, patterns_of
from benchmarks.llm.answer import FIGURES, in_words
from benchmarks.llm.selectors import SELECTORS
from cbs_opt.kernel.files import write_whole

MARKERS = dict(zip(SELECTORS, "osv^PXD*", strict=True))

SPREAD = 5.0
"""The largest value over the smallest one, from which on an axis is logarithmic."""


def plot(points: Sequence[Point], path: Path) -> None:
    """One marker per network; figures that no network has get no panels."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    patterns = patterns_of(points)
    shown = {name: of for name, of in FIGURES.items() if any(math.isfinite(of(point)) for point in points)}
    figure = Figure(figsize=(1.5 + 3.0 * len(patterns), 0.9 + 2.9 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), len(patterns), squeeze=False)
    for line, (name, of) in zip(panels, shown.items(), strict=True):
        for axes, pattern in zip(line, patterns, strict=True):
            drawn = [p for p in points if p.pattern == pattern and math.isfinite(of(p))]
            axes.set_visible(bool(drawn))
            for p in drawn:
                style: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.6, "alpha": 0.8}
                axes.plot(of(p), p.perplexity, MARKERS[p.selector], color=_colour(p.selector), **style)
            axes.set(title=in_words(pattern), xlabel=f"mean {name}", ylabel="perplexity")
            _scale(axes.yaxis, axes.set_yscale, [p.perplexity for p in drawn])
            _scale(axes.xaxis, axes.set_xscale, [of(p) for p in drawn])
            axes.grid(alpha=0.3)
    present = {point.selector for point in points}
    keys = [
        Line2D([], [], marker=MARKERS[name], linestyle="", color=_colour(name), label=name)
        for name in SELECTORS
        if name in present
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8)
    write_whole(path, lambda stream: figure.savefig(stream, format="png", dpi=140))


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
    return f"C{list(SELECTORS).index(selector)}"
