"""Accuracy against certified gap, relative objective and promised loss: a panel for each sparsity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.model_value.analysis import Point
from benchmarks.model_value.grid import FAMILIES, SELECTORS
from cbs_opt.kernel.files import write_whole

MARKERS = dict(zip(SELECTORS, "osv^DPX*", strict=True))
LEAST_GAP = 1e-6
"""Smaller gaps are drawn here; the axis is logarithmic."""


def accuracy_plot(points: Sequence[Point], axis: str, path: Path) -> None:
    """Accuracy (vertical) against 'gap' or 'relative' of each point that has one."""
    value: Callable[[Point], float] = (
        (lambda p: 100 * max(p.gap, LEAST_GAP)) if axis == "gap" else (lambda p: 100 * p.relative)
    )
    words = "certified gap, %" if axis == "gap" else "objective, % of its value with every weight pruned"
    _panels(points, value, lambda p: 100 * p.accuracy, words, "validation accuracy, %", path)


def loss_plot(points: Sequence[Point], path: Path) -> None:
    """What the Fisher models promise against what happens: increase of the mean cross-entropy, both logarithmic."""
    fisher = [p for p in points if p.family.startswith("Fisher")]
    _panels(
        fisher,
        lambda p: p.objective,
        lambda p: p.increase if p.increase > 0 else math.nan,
        "f, its damping term included",
        "increase of the loss, validation images",
        path,
        diagonal=True,
    )


def _panels(
    points: Sequence[Point],
    across: Callable[[Point], float],
    up: Callable[[Point], float],
    x_label: str,
    y_label: str,
    path: Path,
    diagonal: bool = False,
) -> None:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    drawn = [p for p in points if math.isfinite(across(p)) and math.isfinite(up(p)) and across(p) > 0]
    sparsities = sorted({p.sparsity for p in drawn})
    rows = max(1, math.ceil(len(sparsities) / 2))
    figure = Figure(figsize=(9.5, 1.2 + 3.3 * rows), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    colours = {family: f"C{place}" for place, family in enumerate(FAMILIES)}
    for axes, sparsity in zip(panels, sparsities, strict=False):
        for p in (p for p in drawn if p.sparsity == sparsity):
            axes.plot(
                across(p),
                up(p),
                MARKERS[p.method],
                color=colours[p.family],
                markersize=7,
                alpha=0.75,
                markeredgecolor="white",
                markeredgewidth=0.6,
            )
        axes.set_xscale("log")
        if diagonal:
            axes.set_yscale("log")
            axes.axline((0.01, 0.01), (1, 1), color="0.5", linewidth=1, linestyle="--")
        axes.set(title=f"sparsity {sparsity:g}", xlabel=x_label, ylabel=y_label)
        axes.grid(alpha=0.3)
    for axes in panels[len(sparsities) :]:
        axes.set_axis_off()
    keys: list[Any] = [
        Line2D([], [], marker="o", linestyle="", color=colours[name], label=name)
        for name in FAMILIES
        if any(p.family == name for p in drawn)
    ] + [
        Line2D([], [], marker=MARKERS[name], linestyle="", color="0.35", label=name)
        for name in SELECTORS
        if any(p.method == name for p in drawn)
    ]
    if keys:
        figure.legend(handles=keys, loc="outside lower center", ncols=5, fontsize=8)
    write_whole(path, lambda stream: figure.savefig(stream, format="png", dpi=140))
