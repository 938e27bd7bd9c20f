"""The pictures of a study, drawn without pyplot, so that there is no window and no global state."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbs_opt.kernel.words import gap
from cbs_opt.report.style import COLOURS, INK, MATPLOTLIB
from cbs_opt.study.result import StudyResult, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND = "tick: weights as trained, dot: after the update, line: {}"
GAP_FLOOR = 1e-6
"""Gaps below this are drawn as zero, as answers with such a gap count as proven."""


@dataclass(frozen=True)
class Plot:
    """A picture as PNG and SVG, with a sentence on what it shows, and ``narrow``, an SVG for a narrow screen."""

    name: str
    title: str
    caption: str
    png: bytes
    svg: bytes
    narrow: bytes


def study_plots(result: StudyResult) -> tuple[Plot, ...]:
    """The pictures of gap and objective, and of accuracy if there is a network; none if there are no rows."""
    summaries = result.summaries()
    if not summaries:
        return ()
    plots = [
        _plot(
            "gap",
            "How far from the best possible",
            "Gap to the proven bound, summed over all blocks; on the left line the answer is proven optimal.",
            lambda narrow: _gap_figure(result, summaries, narrow),
        ),
        _plot(
            "objective",
            "What the update recovers, and what is left",
            "Tick: the chosen mask with its weights as trained. Dot: after the update. "
            "The line is the proven bound: no mask and no weights do better.",
            lambda narrow: _objective_figure(result, summaries, narrow),
        ),
    ]
    if any(summary.accuracy is not None for summary in summaries):
        plots.append(
            _plot(
                "accuracy",
                "What it does to the network",
                "Test accuracy with all blocks pruned. Tick: weights as trained. Dot: after the update. "
                "The line is the dense network.",
                lambda narrow: _accuracy_figure(result, summaries, narrow),
            )
        )
    return tuple(plots)


def _plot(name: str, title: str, caption: str, draw: Callable[[bool], Figure]) -> Plot:
    import matplotlib

    settings: Any = {**MATPLOTLIB, "svg.hashsalt": name}
    with matplotlib.rc_context(settings):
        figure, png = draw(False), io.BytesIO()
        figure.savefig(png, format="png", dpi=160, facecolor="white")
        wide = _svg(figure, title)
        matplotlib.rcParams["svg.hashsalt"] = f"{name} narrow"  # ids of the two pictures on one page must differ
        narrow = _svg(draw(True), title)
    return Plot(name, title, caption, png.getvalue(), wide, narrow)


def _svg(figure: Figure, title: str) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    return stream.getvalue()


def _shown(result: StudyResult, summaries: Sequence[Summary]) -> list[str]:
    """The methods that have something to draw; the position of a method in this list chooses its colour."""
    present = {summary.method for summary in summaries}
    return [method for method in result.methods if method in present]


def _gap_figure(result: StudyResult, summaries: Sequence[Summary], narrow: bool) -> Figure:
    """One line per method, as long as its gap on a symlog axis, which includes zero, with the number at its end."""
    known = [summary for summary in summaries if math.isfinite(summary.gap)]
    methods = _shown(result, known)
    figure, panels = _panels(result, methods, known, "gap to the proven bound", "", narrow)
    positive = [100 * s.gap for s in known if s.gap > GAP_FLOOR]
    most = max(positive, default=1.0)
    threshold = 10.0 ** math.floor(math.log10(min(positive, default=1.0)))
    decades = range(round(math.log10(threshold)), math.ceil(math.log10(most)) + 1)
    ticks = [10.0**d for d in decades][:: -(math.ceil(len(decades) / 3))][::-1]
    for axes, rows in panels:
        axes.set_xscale("symlog", linthresh=threshold, linscale=0.6)
        axes.set_xlim(0, most * 10.0 ** (0.45 * (len(decades) + 0.6) / 2))  # room for the numbers
        axes.set_xticks([0.0, *ticks], ["0", *(f"{t:g} %" for t in ticks)])
        axes.minorticks_off()
        for row in rows:
            y, value = methods.index(row.method), 100 * row.gap if row.gap > GAP_FLOOR else 0.0
            colour = COLOURS[y % len(COLOURS)]
            axes.plot([0, value], [y, y], color=colour, linewidth=2, alpha=0.45)
            axes.plot(value, y, "o", color=colour, markersize=6.5, clip_on=False, zorder=3)
            axes.annotate(gap(row.gap), (value, y), (7, 0), textcoords="offset points", va="center", fontsize=9)
    return figure


def _objective_figure(result: StudyResult, summaries: Sequence[Summary], narrow: bool) -> Figure:
    methods = _shown(result, summaries)
    label = "objective, summed over blocks"
    if result.mixed_units:
        label += f",{chr(10) if narrow else ' '}each relative to the loss of removing the whole block"
    figure, panels = _panels(result, methods, summaries, label, LEGEND.format("proven bound"), narrow)
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


def _accuracy_figure(result: StudyResult, summaries: Sequence[Summary], narrow: bool) -> Figure:
    measured = [summary for summary in summaries if summary.accuracy is not None]
    methods = _shown(result, measured)
    figure, panels = _panels(result, methods, measured, "test accuracy, %", LEGEND.format("dense network"), narrow)
    for axes, rows in panels:
        for row in rows:
            _dumbbell(axes, methods, row.method, 100 * (row.selection_accuracy or 0.0), 100 * (row.accuracy or 0.0))
        if result.dense_accuracy is not None:
            axes.axvline(100 * result.dense_accuracy, color=INK, linewidth=1.2)
        axes.set_xlim(-4, 104)
        axes.set_xticks([0, 25, 50, 75, 100])
    return figure


def _panels(
    result: StudyResult, methods: Sequence[str], summaries: Sequence[Summary], label: str, legend: str, narrow: bool
) -> tuple[Figure, list[tuple[Axes, list[Summary]]]]:
    """One panel per sparsity, side by side or (``narrow``) stacked, with a line per method; each with its summaries."""
    from matplotlib.figure import Figure

    levels = [s for s in result.sparsities if any(summary.sparsity == s for summary in summaries)]
    height = 0.6 + 0.3 * len(methods)
    size = (4.4, 0.8 + height * len(levels)) if narrow else (max(7.2, 1.2 + 2.4 * len(levels)), 0.7 + height)
    figure = Figure(figsize=size, layout="constrained")
    shape = (len(levels), 1) if narrow else (1, len(levels))
    grid = figure.subplots(*shape, squeeze=False, sharey=True).ravel()
    for axes, sparsity in zip(grid, levels, strict=True):
        axes.set_title(f"sparsity {sparsity:g}", fontsize=10)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0, pad=8)
        # Methods are the categories of the y axis, first on top.
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.set_yticks(range(len(methods)), methods)
    figure.supxlabel(f"{label}\n{legend.replace(', line', chr(10) + 'line') if narrow else legend}".strip(), fontsize=9)
    return figure, [(a, [s for s in summaries if s.sparsity == level]) for a, level in zip(grid, levels, strict=True)]


def _dumbbell(axes: Axes, methods: Sequence[str], method: str, as_trained: float, updated: float) -> None:
    """Draw a tick at the value of the mask with weights as trained, and a dot at the value after the update."""
    y = methods.index(method)
    colour = COLOURS[y % len(COLOURS)]
    axes.plot([as_trained, updated], [y, y], color=colour, linewidth=2, alpha=0.45)
    axes.plot(as_trained, y, "|", color=colour, markersize=9, markeredgewidth=2)
    axes.plot(updated, y, "o", color=colour, markersize=6.5)


def _log_axis(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic, with a few plain labels even if it spans less than a decade."""
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
