"""The pictures of a study, drawn without pyplot: no window, no global state."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbs_opt.report.style import COLOURS, INK
from cbs_opt.study.result import StudyResult, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*"
LEGEND = "tick: weights as trained, dot: after the update, line: {}"
GAP_FLOOR = 1e-6
"""Gaps below this are drawn as zero: that is what counts as proven."""


@dataclass(frozen=True)
class Plot:
    """A picture in both formats, with what it shows in one sentence."""

    name: str
    title: str
    caption: str
    png: bytes
    svg: bytes


def study_plots(result: StudyResult) -> tuple[Plot, ...]:
    """Gap, objective, and accuracy where there is a network; nothing where there are no rows."""
    summaries = result.summaries()
    if not summaries:
        return ()
    plots = [
        _plot(
            "gap",
            "How far from the best possible",
            "Gap to the proven bound, summed over all blocks; on the bottom line the answer is proven optimal.",
            lambda: _gap_figure(result, summaries),
        ),
        _plot(
            "objective",
            "What the update recovers, and what is left",
            "Tick: the chosen mask with its weights as trained. Dot: after the update. "
            "The line is the proven bound: no mask and no weights do better.",
            lambda: _objective_figure(result, summaries),
        ),
    ]
    if any(summary.accuracy is not None for summary in summaries):
        plots.append(
            _plot(
                "accuracy",
                "What it does to the network",
                "Test accuracy with all blocks pruned. Tick: weights as trained. Dot: after the update. "
                "The line is the dense network.",
                lambda: _accuracy_figure(result, summaries),
            )
        )
    return tuple(plots)


def _plot(name: str, title: str, caption: str, draw: Callable[[], Figure]) -> Plot:
    import matplotlib

    settings: Any = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": INK,
        "grid.alpha": 0.18,
        "legend.frameon": False,
        "text.parse_math": False,  # a name with a $ in it stays a name
    }
    with matplotlib.rc_context(settings):
        figure = draw()
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", dpi=160, facecolor="white")
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    return Plot(name, title, caption, png.getvalue(), svg.getvalue())


def _shown(result: StudyResult, summaries: Sequence[Summary]) -> list[str]:
    """The methods there is something to draw of; the position is the colour."""
    present = {summary.method for summary in summaries}
    return [method for method in result.methods if method in present]


def _gap_figure(result: StudyResult, summaries: Sequence[Summary]) -> Figure:
    """Grouped points: sparsity on the x axis, methods side by side, symlog so that zero has its place."""
    from matplotlib.figure import Figure

    methods = _shown(result, summaries)
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    axes = figure.subplots()
    step = 0.7
    for position, method in enumerate(methods):
        known = [s for s in summaries if s.method == method and math.isfinite(s.gap)]
        shift = step * ((position + 0.5) / len(methods) - 0.5)
        x = [result.sparsities.index(s.sparsity) + shift for s in known]
        y = [100 * s.gap if s.gap > GAP_FLOOR else 0.0 for s in known]
        colour, marker = COLOURS[position % len(COLOURS)], MARKERS[position % len(MARKERS)]
        axes.vlines(x, 0, y, color=colour, linewidth=1.5, alpha=0.5)
        axes.plot(x, y, marker, color=colour, markersize=6.5, label=method, clip_on=False, zorder=3)
    positive = [100 * s.gap for s in summaries if math.isfinite(s.gap) and s.gap > GAP_FLOOR]
    threshold = 10.0 ** math.floor(math.log10(min(positive, default=1.0)))
    axes.set_yscale("symlog", linthresh=threshold, linscale=0.6)
    axes.set_ylim(0, 2.0 * max(positive, default=1.0))
    decades = range(round(math.log10(threshold)), math.ceil(math.log10(max(positive, default=1.0))) + 1)
    ticks = [0.0, *(10.0**d for d in decades)]
    axes.set_yticks(ticks, ["0", *(f"{t:g} %" for t in ticks[1:])])
    axes.minorticks_off()
    axes.set_ylabel("gap to the proven bound")
    axes.set_xticks(range(len(result.sparsities)), [f"{s:g}" for s in result.sparsities])
    axes.set_xlim(-0.5, len(result.sparsities) - 0.5)
    axes.set_xlabel("sparsity")
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside right center", handletextpad=0.3)
    return figure


def _objective_figure(result: StudyResult, summaries: Sequence[Summary]) -> Figure:
    methods = _shown(result, summaries)
    label = "objective, summed over blocks"
    if result.mixed_units:
        label += ", each relative to the loss of removing the whole block"
    figure, panels = _panels(result, methods, summaries, label, LEGEND.format("proven bound"))
    for axes, rows in panels:
        for row in rows:
            _dumbbell(axes, methods, row.method, row.selection_objective, row.objective)
        bound = max(rows, key=lambda row: row.blocks).bound
        values = [v for row in rows for v in (row.objective, row.selection_objective)]
        if math.isfinite(bound) and bound > 0:
            axes.axvline(bound, color=INK, linewidth=1.2)
            values.append(bound)
        if min(values) > 0:
            _log_axis(axes, values)
    return figure


def _accuracy_figure(result: StudyResult, summaries: Sequence[Summary]) -> Figure:
    measured = [summary for summary in summaries if summary.accuracy is not None]
    methods = _shown(result, measured)
    figure, panels = _panels(result, methods, measured, "test accuracy, %", LEGEND.format("dense network"))
    for axes, rows in panels:
        for row in rows:
            _dumbbell(axes, methods, row.method, 100 * (row.selection_accuracy or 0.0), 100 * (row.accuracy or 0.0))
        if result.dense_accuracy is not None:
            axes.axvline(100 * result.dense_accuracy, color=INK, linewidth=1.2)
        axes.set_xlim(-4, 104)
        axes.set_xticks([0, 25, 50, 75, 100])
    return figure


def _panels(
    result: StudyResult, methods: Sequence[str], summaries: Sequence[Summary], label: str, legend: str
) -> tuple[Figure, list[tuple[Axes, list[Summary]]]]:
    """One panel a sparsity, one line a method; each panel with its summaries."""
    from matplotlib.figure import Figure

    levels = [s for s in result.sparsities if any(summary.sparsity == s for summary in summaries)]
    figure = Figure(figsize=(max(7.2, 1.2 + 2.4 * len(levels)), 1.3 + 0.3 * len(methods)), layout="constrained")
    grid = figure.subplots(1, len(levels), squeeze=False, sharey=True)[0]
    for axes, sparsity in zip(grid, levels, strict=True):
        axes.set_title(f"sparsity {sparsity:g}", fontsize=10)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        # Methods are the categories of the y axis, first on top.
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.set_yticks(range(len(methods)), methods)
    figure.supxlabel(f"{label}\n{legend}", fontsize=9)
    return figure, [(a, [s for s in summaries if s.sparsity == level]) for a, level in zip(grid, levels, strict=True)]


def _dumbbell(axes: Axes, methods: Sequence[str], method: str, as_trained: float, updated: float) -> None:
    """A tick where the mask alone stands, a dot after the update."""
    y = methods.index(method)
    colour = COLOURS[y % len(COLOURS)]
    axes.plot([as_trained, updated], [y, y], color=colour, linewidth=2, alpha=0.45)
    axes.plot(as_trained, y, "|", color=colour, markersize=9, markeredgewidth=2)
    axes.plot(updated, y, "o", color=colour, markersize=6.5)


def _log_axis(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with a few plain labels, also where it spans less than a decade."""
    low, high = min(values) / 1.3, max(values) * 1.3
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [t for t in (digit * 10.0**e for e in exponents for digit in digits) if low <= t <= high]
        if len(ticks) >= 2:
            break
    ticks = ticks[:: math.ceil(len(ticks) / 4)]
    axes.set_xticks(ticks, [f"{t:g}" if 1e-3 <= t < 1e4 else f"{t:.0e}".replace("e-0", "e-") for t in ticks])
    axes.minorticks_off()
