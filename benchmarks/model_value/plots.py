"""Accuracy against certified gap, relative objective and promised loss: a panel for each sparsity."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.model_value.analysis import Point
from benchmarks.model_value.grid import FAMILIES, SELECTORS
from benchmarks.ranks import rank_correlation
from cbs_opt.kernel.files import write_whole
from cbs_opt.report.style import COLOURS, INK, MATPLOTLIB

MARKERS = dict(zip(SELECTORS, "osv^DPX*", strict=True))
MODERATE = 0.6
"""Rank correlations below this are no rule that a picture may be said to show."""
LEAST_GAP = 1e-6
"""Smaller gaps are drawn here; the axis is logarithmic."""


def accuracy_plot(points: Sequence[Point], axis: str, path: Path) -> None:
    """Accuracy (vertical) against 'gap' or 'relative' of each point that has one."""
    value: Callable[[Point], float] = (
        (lambda p: 100 * max(p.gap, LEAST_GAP)) if axis == "gap" else (lambda p: 100 * p.relative)
    )
    words = "certified gap, %" if axis == "gap" else "objective, % of its value with every weight pruned"
    drawn = [p for p in points if math.isfinite(value(p)) and value(p) > 0]
    known = {s: _rank_correlation([p for p in drawn if p.sparsity == s], value) for s in {p.sparsity for p in drawn}}
    what = "gap" if axis == "gap" else "objective"
    message = f"A lower {what} alone does not make a better network"
    if any(not abs(correlation) < MODERATE for correlation in known.values()):
        message = f"The {what} and the accuracy of the network"
    titles = {s: f"sparsity {s:g}: rank correlation {correlation:+.2f}" for s, correlation in known.items()}
    _panels(points, value, lambda p: 100 * p.accuracy, words, "validation accuracy, %", path, message, titles)


def loss_plot(points: Sequence[Point], path: Path) -> None:
    """What the Fisher models promise against what happens: increase of the mean cross-entropy, both logarithmic."""
    fisher = [p for p in points if p.family.startswith("Fisher")]
    rising = [p for p in fisher if p.increase > 0 and p.objective > 0]
    more = sum(p.increase > p.objective for p in rising)
    _panels(
        fisher,
        lambda p: p.objective,
        lambda p: p.increase if p.increase > 0 else math.nan,
        "f, its damping term included",
        "increase of the loss, validation images",
        path,
        f"Of {len(rising)} networks whose loss rises, {more} lose more than the model promised (above the line)",
        {},
        diagonal=True,
    )


def _rank_correlation(points: Sequence[Point], value: Callable[[Point], float]) -> float:
    """Of accuracy with ``value`` the other way round: 1 where lower always is better."""
    return rank_correlation([-value(p) for p in points], [p.accuracy for p in points])


def _panels(
    points: Sequence[Point],
    across: Callable[[Point], float],
    up: Callable[[Point], float],
    x_label: str,
    y_label: str,
    path: Path,
    message: str,
    titles: Mapping[float, str],
    diagonal: bool = False,
) -> None:
    import matplotlib

    with matplotlib.rc_context(MATPLOTLIB):
        figure = _figure(points, across, up, x_label, y_label, titles, diagonal)
        figure.suptitle(message, x=0.01, ha="left")
        write_whole(path, lambda stream: figure.savefig(stream, format="png", dpi=140, facecolor="white"))


def _figure(
    points: Sequence[Point],
    across: Callable[[Point], float],
    up: Callable[[Point], float],
    x_label: str,
    y_label: str,
    titles: Mapping[float, str],
    diagonal: bool,
) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    drawn = [p for p in points if math.isfinite(across(p)) and math.isfinite(up(p)) and across(p) > 0]
    sparsities = sorted({p.sparsity for p in drawn})
    rows = max(1, math.ceil(len(sparsities) / 2))
    figure = Figure(figsize=(9.5, 1.2 + 3.3 * rows), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    colours = {family: COLOURS[place % len(COLOURS)] for place, family in enumerate(FAMILIES)}
    for axes, sparsity in zip(panels, sparsities, strict=False):
        for p in (p for p in drawn if p.sparsity == sparsity):
            axes.plot(
                across(p),
                up(p),
                MARKERS[p.method],
                color=colours[p.family],
                markersize=7,
                markeredgecolor="white",
                markeredgewidth=0.6,
            )
        axes.set_xscale("log")
        if diagonal:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.axline((0.01, 0.01), (1, 1), color=INK, linewidth=1, linestyle="--")
        axes.set(title=titles.get(sparsity, f"sparsity {sparsity:g}"), xlabel=x_label, ylabel=y_label)
        axes.xaxis.set_major_formatter("{x:g}")
    for axes in panels[len(sparsities) :]:
        axes.set_axis_off()
    keys: list[Any] = [
        Line2D([], [], marker="o", linestyle="", color=colours[name], label=name)
        for name in FAMILIES
        if any(p.family == name for p in drawn)
    ] + [
        Line2D([], [], marker=MARKERS[name], linestyle="", color=INK, label=name)
        for name in SELECTORS
        if any(p.method == name for p in drawn)
    ]
    if keys:
        figure.legend(handles=keys, loc="outside lower center", ncols=5, fontsize=9)
    return figure
