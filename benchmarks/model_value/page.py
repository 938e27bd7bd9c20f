"""From the log to a page (Markdown) with tables, plots and the conclusions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.model_value.analysis import Point, agreement, models_of, points_of, rank_correlation
from benchmarks.model_value.conclusions import conclusions
from benchmarks.model_value.grid import FAMILIES, GRID, SELECTORS
from benchmarks.model_value.plots import accuracy_plot, loss_plot
from benchmarks.paper.table import TITLES
from cbs_opt.kernel.files import write_whole

PAGE = "model-value"

INTRODUCTION = """\
# Is a lower model value a better network?

Every selector of this package minimizes a quadratic model f of what pruning costs, and a proven lower bound says how
far its answer is from the best possible one: gap = (objective − bound)/objective. This page asks what that is worth for
the network. It prunes one network by several models (empirical Fisher of the whole network, or cut by layer, chunks of
500 weights or row; Gram matrices of the layers' inputs, dense or *sequential*; several dampings λ and numbers of
samples m), with several selectors on each, and sets the model's value and its certified gap beside the accuracy.

Accuracies are of **validation images, cut from the training images** and not used for the models; no test image was
used. (The published networks were trained on all training images, so their dense accuracy here is above that of the
test images.) The bound of a model is the best that any selector proved for it; for the sequential Gram, where each
layer's problem depends on what was done to the layers before, it is each run's own. The Gram models are solved and
bounded for given numbers of zeros in each row (`allocation="sensitivity"`), the same for all selectors, and one
diagonal splitting bounds all rows of a layer: part of their gap is the bound's. The *relative objective* is f divided
by its value with every weight pruned. One draw of the samples (seed 0). Written by `python -m
benchmarks.model_value`; every single run is in [model-value.jsonl](model-value.jsonl).
"""

WITHIN = """\
ρ: Spearman's rank correlation of accuracy with the objective, its sign turned, so that 1 says: the lower the objective,
the better the network. Pairs: of those whose accuracies are more than two standard errors apart, how many the objective
puts in the right order. Models with at least three selectors."""

PROMISES = """\
The network with the best objective of each model. f = data term + damping term λ/2‖w − w̄‖², the latter no loss at
all; the data term is the promised increase of the cross-entropy. Beside it, the increase that happens on the model's
own samples and on the validation images."""


def write_page(entries: Sequence[dict[str, Any]], folder: Path) -> Path:
    """The page of all networks in the log, and three plots of each."""
    lines = [INTRODUCTION]
    found = {network: sorted(points_of(network, entries), key=_place) for network in GRID}
    lines += conclusions(found)
    for network, points in found.items():
        if points:
            lines += _network(network, points, [e for e in entries if e["network"] == network], folder)
    path = folder / f"{PAGE}.md"
    write_whole(path, lambda stream: stream.write(("\n".join(lines).rstrip() + "\n").encode()))
    return path


def _place(point: Point) -> tuple[int, str, int]:
    """Tables list kinds of curvature and selectors in the order of the grid, whatever the order of the runs was."""
    return FAMILIES.index(point.family), point.model, SELECTORS.index(point.method)


def _network(network: str, points: Sequence[Point], entries: Sequence[dict[str, Any]], folder: Path) -> list[str]:
    plots = [f"{PAGE}-{network}-{kind}.png" for kind in ("gap", "objective", "loss")]
    accuracy_plot(points, "gap", folder / plots[0])
    accuracy_plot(points, "relative", folder / plots[1])
    loss_plot(points, folder / plots[2])
    images = sorted({entry["validation"] for entry in entries})
    return [
        f"## {TITLES[network]}",
        "",
        f"Dense: {100 * points[0].accuracy_dense:.2f} % of {' or '.join(f'{count:,}' for count in images)} validation "
        f"images; {len(points)} pruned networks.",
        "",
        f"![accuracy against certified gap]({plots[0]})",
        "",
        f"![accuracy against relative objective]({plots[1]})",
        "",
        "### Validation accuracy in % (certified gap in %)",
        "",
        *_accuracies(points),
        "",
        "A dash: not run, or no bound was proved. A gap above 100 % has a bound below zero.",
        "",
        "### Within one model: selectors against each other",
        "",
        WITHIN,
        "",
        *_within(points),
        "",
        "### Across models",
        "",
        "The same with all models in one pot, by certified gap and by relative objective.",
        "",
        *_across(points),
        "",
        "### What the Fisher models promise, and what happens",
        "",
        PROMISES,
        "",
        *_promises(points),
        "",
        f"![promised against true increase of the loss]({plots[2]})",
        "",
    ]


def _accuracies(points: Sequence[Point]) -> list[str]:
    sparsities = _sparsities(points)
    lines = ["| model | selector | " + " | ".join(f"{s:g}" for s in sparsities) + " |"]
    lines += ["|---|---|" + "---:|" * len(sparsities)]
    for model in models_of(points):
        mine = [p for p in points if p.model == model]
        for method in dict.fromkeys(p.method for p in mine):
            cells = [_accuracy([p for p in mine if p.method == method and p.sparsity == s]) for s in sparsities]
            lines.append(f"| {model} | {method} | " + " | ".join(cells) + " |")
    return lines


def _accuracy(points: Sequence[Point]) -> str:
    if not points:
        return "–"
    accuracy = sum(p.accuracy for p in points) / len(points)
    gap = max(p.gap for p in points)
    return f"{100 * accuracy:.2f} ({percent(gap)})"


def _within(points: Sequence[Point]) -> list[str]:
    lines = [
        "| model | sparsity | selectors | objective, worst/best | accuracy, worst … best | ρ | pairs |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for model in models_of(points):
        for sparsity in _sparsities(points):
            mine = [p for p in points if p.model == model and p.sparsity == sparsity]
            if len(mine) < 3:
                continue
            values = [p.objective for p in mine]
            lines.append(
                f"| {model} | {sparsity:g} | {len(mine)} | {max(values) / min(values):.3f} | {_range(mine)} | "
                f"{_order(mine, lambda p: p.objective)} |"
            )
    return lines


def _across(points: Sequence[Point]) -> list[str]:
    lines = [
        "| sparsity | networks | gap, % | accuracy, worst … best | ρ, gap | pairs | ρ, relative obj. | pairs |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for sparsity in _sparsities(points):
        mine = [p for p in points if p.sparsity == sparsity]
        gaps = [p.gap for p in mine if math.isfinite(p.gap)]
        known = f"{percent(min(gaps))} … {percent(max(gaps))}" if gaps else "–"
        lines.append(
            f"| {sparsity:g} | {len(mine)} | {known} | {_range(mine)} | {_order(mine, lambda p: p.gap)} | "
            f"{_order(mine, lambda p: p.relative)} |"
        )
    return lines


def _promises(points: Sequence[Point]) -> list[str]:
    fisher = [p for p in points if p.family.startswith("Fisher")]
    lines = [
        "| model | sparsity | f | of it damping, % | data term | happens, own samples | happens, validation |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for model in models_of(fisher):
        for sparsity in _sparsities(fisher):
            mine = [p for p in fisher if p.model == model and p.sparsity == sparsity]
            if mine:
                best = min(mine, key=lambda p: p.objective)
                own = "–" if math.isnan(best.own_increase) else f"{best.own_increase:.4f}"
                lines.append(
                    f"| {model} | {sparsity:g} | {best.objective:.5f} | {100 * best.damping_share:.1f} | "
                    f"{best.data_term:.1e} | {own} | {best.increase:.4f} |"
                )
    return lines


def _sparsities(points: Sequence[Point]) -> list[float]:
    return sorted({p.sparsity for p in points})


def _range(points: Sequence[Point]) -> str:
    accuracies = [100 * p.accuracy for p in points]
    return f"{min(accuracies):.2f} … {max(accuracies):.2f}"


def _order(points: Sequence[Point], value: Callable[[Point], float]) -> str:
    """Two cells: rank correlation, and pairs in the right order."""
    rho = rank_correlation(points, value)
    right, pairs = agreement(points, value)
    return ("–" if math.isnan(rho) else f"{rho:+.2f}".replace("-", "−")) + f" | {right} of {pairs}"


def percent(share: float) -> str:
    """A gap in %, to two digits that count; a dash where it is unknown."""
    if not math.isfinite(share):
        return "–"
    return f"{100 * share:.2g}" if share < 0.1 else f"{100 * share:.1f}"
