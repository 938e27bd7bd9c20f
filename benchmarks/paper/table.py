"""From the log to tables (Markdown) and plots: mean ± standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.rows import QUOTED, ROWS, SPARSITIES
from cbs_opt.kernel.files import write_whole
from cbs_opt.report.style import COLOURS, INK, MATPLOTLIB

TITLES = {
    "digits": "The embedded network on 8×8 digits, 2,720 weights",
    "mlpnet": "MLPNet on MNIST, 32,360 weights",
    "resnet20": "ResNet20 on CIFAR-10, 268,336 weights",
}


def write_tables(network: str, entries: Sequence[dict[str, Any]], folder: Path) -> Path:
    """One page for a network: accuracy, what of it the update adds, certified gaps, and what was chosen."""
    tested = (entry for entry in entries if entry["network"] == network and entry.get("test"))
    # The last one counts: what was chosen on validation images may have changed with the candidates.
    mine = list({(entry["row"], entry["sparsity"], entry["seed"]): entry for entry in tested}.values())
    dense = f"{100 * mine[0]['accuracy_dense']:.2f}" if mine else "–"
    lines = [
        f"# {TITLES[network]}",
        "",
        f"Test accuracy in %, mean ± standard deviation over seeds (number of seeds in brackets). Dense: {dense}.",
        "Hyper-parameters were chosen on validation images cut from the training images, one seed, at each sparsity.",
        "Written by `python -m benchmarks.paper`; every run is in the `.jsonl` file beside this page. Its seconds",
        "are those of a machine that did other work as well, pauses included: they compare nothing.",
        "",
        *_table(network, mine, "accuracy", quoted=True),
        "",
        "## The same masks without the update",
        "",
        "The kept weights as trained. Where a row has several stages, the mask is that of the last.",
        "",
        *_table(network, mine, "accuracy_without_update"),
        "",
        "## What the update adds, points",
        "",
        "Accuracy with the update less that of the same mask without it, mean ± standard deviation over seeds.",
        "",
        *_table(network, [_added(entry) for entry in mine], "added"),
        "",
    ]
    if any(entry["gap"] is not None for entry in mine):
        lines += [
            "## Certified gap of the quadratic model, %",
            "",
            "(objective − proven lower bound)/objective. It is about the model of the loss, not about accuracy.",
            "",
            *_table(network, mine, "gap"),
            "",
        ]
    there = [row for row in ROWS[network] if any(entry["row"] == row for entry in mine)]
    if any(entry["chosen"] for entry in mine):
        lines += ["## Chosen on validation images", "", "| row | " + _heads(network), *_rule(network)]
        for row in there:
            cells = [_chosen(_of(mine, row, s)) for s in SPARSITIES[network]]
            if any(cell != "–" for cell in cells):
                lines.append(f"| {row} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["## The rows", "", "What `cbs_opt.prune` is given beside the network, the sparsity and the seed:", ""]
    lines += [f"- {row}: {_told(ROWS[network][row].arguments)}" for row in there]
    lines += ["", f"![test error against sparsity]({network}.png)", ""]
    path = folder / f"{network}.md"
    write_whole(path, lambda stream: stream.write("\n".join(lines).encode()))
    _plot(network, mine, folder / f"{network}.png")
    return path


def _table(network: str, entries: Sequence[dict[str, Any]], field: str, quoted: bool = False) -> list[str]:
    lines = ["| row | " + _heads(network), *_rule(network)]
    if quoted:
        for name, values in QUOTED[network].items():
            lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    for row in ROWS[network]:
        cells = [_cell([entry[field] for entry in _of(entries, row, s)]) for s in SPARSITIES[network]]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return lines


def _added(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "added": entry["accuracy"] - entry["accuracy_without_update"]}


def _heads(network: str) -> str:
    return " | ".join(f"{s:g}" for s in SPARSITIES[network]) + " |"


def _rule(network: str) -> list[str]:
    return ["|---|" + "---:|" * len(SPARSITIES[network])]


def _of(entries: Sequence[dict[str, Any]], row: str, sparsity: float) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["row"] == row and entry["sparsity"] == sparsity]


def _cell(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    digits = 2 if max(map(abs, known)) >= 1 else 3
    spread = f" ± {np.std(known, ddof=1):.2f}" if len(known) > 1 else ""
    return f"{np.mean(known):.{digits}f}{spread} ({len(known)})"


def _chosen(entries: Sequence[dict[str, Any]]) -> str:
    return _told(entries[0]["chosen"]) if entries and entries[0]["chosen"] else "–"


def _told(arguments: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in arguments.items()
    )


def _plot(network: str, entries: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context(MATPLOTLIB):
        figure = _figure(network, entries)
        write_whole(path, lambda stream: figure.savefig(stream, format="png", dpi=150, facecolor="white"))


def _message(network: str, entries: Sequence[dict[str, Any]]) -> str:
    """What the picture shows: the lowest error of ours and of the quoted ones at the highest sparsity that has both."""
    for place, sparsity in reversed([*enumerate(SPARSITIES[network])]):
        quoted = {name: 100 - values[place] for name, values in QUOTED[network].items()}
        means = {row: [100 * (1 - e["accuracy"]) for e in _of(entries, row, sparsity)] for row in ROWS[network]}
        ours = {row: float(np.mean(errors)) for row, errors in means.items() if errors}
        if ours and quoted:
            best = min(ours, key=ours.__getitem__)
            error = f"{ours[best]:.1f} % error by {best}"
            return f"Sparsity {sparsity:g}: {error}; best quoted {min(quoted.values()):.1f} %"
    return TITLES[network]


def _figure(network: str, entries: Sequence[dict[str, Any]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    places = range(len(SPARSITIES[network]))
    for (name, values), dash in zip(QUOTED[network].items(), ("--", ":", "-."), strict=False):
        axes.plot(places, [100 - value for value in values], dash, color=INK, label=name)
    # Beyond the colours there are, other marks.
    styles = [(colour, mark) for mark in "os" for colour in COLOURS]
    for row, (colour, mark) in zip(ROWS[network], styles, strict=False):
        errors = [[100 * (1 - e["accuracy"]) for e in _of(entries, row, s)] for s in SPARSITIES[network]]
        found = [(place, values) for place, values in zip(places, errors, strict=True) if values]
        if found:
            axes.errorbar(
                [place for place, _ in found],
                [np.mean(v) for _, v in found],
                yerr=[np.std(v) for _, v in found],
                color=colour,
                marker=mark,
                markersize=4,
                capsize=2,
                label=row,
            )
    axes.set(xlabel="sparsity", ylabel="test error, % (100 − accuracy)", title=TITLES[network], yscale="log")
    figure.suptitle(_message(network, entries), x=0.01, ha="left")
    axes.set_xticks(places, [f"{s:g}" for s in SPARSITIES[network]])
    low, high = axes.get_ylim()
    ticks = [tick for tick in (2, 3, 4, 5, 7, 10, 20, 30, 50, 70, 90) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    if axes.lines:
        figure.legend(fontsize=9, loc="outside right center")
    return figure
