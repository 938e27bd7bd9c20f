"""The page of the log: protocol, one table per pattern, the answer to its question, and the sentence encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.llm.analysis import Point, patterns_of, points_of
from benchmarks.llm.answer import answer, encoder, in_words
from benchmarks.llm.peers import MODEL, is_theirs, quoted
from benchmarks.llm.plots import plot
from benchmarks.llm.protocol import DENSE
from benchmarks.llm.selectors import SELECTORS
from benchmarks.recording import Row
from cbs_opt.kernel.files import write_whole

LOG, PAGE, PLOT = "llm.jsonl", "llm.md", "llm.png"

INTRODUCTION = """\
# A language model, pruned

Perplexity, layer errors, certified gaps, time and memory of each selector on one model. Written by `python -m
benchmarks.llm`, which says where the model and the texts come from; every row, with every layer, is in
[llm.jsonl](llm.jsonl).
"""

PROTOCOL = """\
**Protocol.** {model}. Calibration on {windows} windows of {length} tokens of WikiText-2's validation text: the
first ones for seed 0, drawn without replacement for the others. Perplexity over the first {test_windows} windows
of {test_length:,} tokens of its test text, float32; dense {dense}. Every linear layer of the blocks is pruned,
each by the same share; layers are taken in the order of execution, each on the inputs that the pruned layers
before it leave it, with λ = 0.01 of the mean diagonal of its curvature.

**One evaluation for all rows.** The layer error is Σ (W − W̄)(H + λI)(W − W̄)ᵀ / Σ W̄(H + λI)W̄ᵀ (traces), with H
of the layer's inputs *in the dense network* and the same λ: no selector reports its own score. The gap of a layer
is (error − bound)/error, the bound proven for every mask with as many zeros in that layer, wherever they stand; a
pattern of N:M is measured against these masks, too, so part of its gap is the price of the pattern. A bound proven
in one row holds for all rows of the seed. Both are means over the layers. SparseGPT, ADMM and this package fit each
layer to the inputs that the pruned layers before it leave it, which is what serves the network and another problem
than the one judged here: part of their gap is that they gave the judged one away.{limits}

**Seconds** are wall time of pruning, without evaluation, {threads}. **Memory** is the most the process held until
the network was pruned, beside what it held with the network loaded. ± is the standard deviation over seeds. Of
seconds only those of one undisturbed run compare: whatever else the processor did lengthens them.
"""

QUOTE = """\
Rows in italics are quoted: measured once with the peers' own code, on exactly this model and these windows, seed
0. Their layer errors were taken on their own runs' inputs and compare only roughly with ours."""


def write_page(rows: Sequence[Row], folder: Path) -> Path:
    """The page and its plot; return where the page is.

    Raises
    ------
    BoundViolationError
        A bound above the error of a row it holds for.
    """
    points = points_of(rows)
    lines = [INTRODUCTION]
    if points:
        lines += [_protocol(rows), *_selectors(points)]
        for pattern in patterns_of(points):
            lines += ["", *_table(pattern, [point for point in points if point.pattern == pattern], rows)]
        plot(points, folder / PLOT)
    found = answer(points)
    if found:
        lines += ["", *found]
    for row in rows:
        if row["part"] == "embedding":
            lines += ["", *encoder(row)]
    path = folder / PAGE
    write_whole(path, lambda stream: stream.write(("\n".join(lines).rstrip() + "\n").encode()))
    return path


def _protocol(rows: Sequence[Row]) -> str:
    mine = [row for row in rows if row["part"] == "row"]
    threads = sorted({row["environment"]["threads"] for row in mine})
    dense = _dense(rows)
    told = f"on {' or '.join(threads)} thread{'' if threads == ['1'] else 's'}"
    protocol = mine[-1]["protocol"]
    model = f"{MODEL} ({protocol['model']})" if is_theirs(protocol, dense) else protocol["model"]
    words = "–" if dense is None else f"{dense:.2f}"
    return PROTOCOL.format(**{**protocol, "model": model, "dense": words, "threads": told, "limits": _limits(mine)})


def _limits(rows: Sequence[Row]) -> str:
    """How long was looked for bounds, where that was limited."""
    seconds = sorted({row["bound_time"] for row in rows if row.get("bound_time") is not None})
    if not seconds:
        return ""
    words = " or ".join(f"{limit:,.0f}" for limit in seconds)
    return f"\nBounds are the best found in {words} s for all layers of a row together."


def _dense(rows: Sequence[Row]) -> float | None:
    return next((float(row["perplexity"]) for row in rows if row["part"] == DENSE), None)


def _selectors(points: Sequence[Point]) -> list[str]:
    present = {point.selector for point in points}
    return [f"- *{name}*: {selector.words}" for name, selector in SELECTORS.items() if name in present]


def _table(pattern: str, points: Sequence[Point], rows: Sequence[Row]) -> list[str]:
    lines = [
        f"## {in_words(pattern)}",
        "",
        "| selector | seeds | perplexity | mean layer error | mean gap, % | seconds | memory, GiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in dict.fromkeys(point.selector for point in points):
        mine = [point for point in points if point.selector == name]
        cells = [
            _spread([p.perplexity for p in mine], perplexity),
            _spread([p.error for p in mine], lambda error: f"{error:.5f}"),
            _spread([100 * p.gap for p in mine], lambda gap: f"{gap:.1f}"),
            _spread([p.seconds for p in mine], lambda seconds: f"{seconds:.0f}"),
            f"{max(p.memory for p in mine) / 2**30:.2f}",
        ]
        lines.append(f"| {name} | {len(mine)} | {' | '.join(cells)} |")
    theirs = quoted(pattern, next(row["protocol"] for row in rows if row["part"] == "row"), _dense(rows))
    for peer in theirs:
        error = "" if peer.error is None else f"{peer.error:.5f}"
        lines.append(f"| *{peer.name}, its authors' code* | 1 | {perplexity(peer.perplexity)} | {error} | | | |")
    lines += _refinement([row for row in rows if row.get("pattern") == pattern])
    return [*lines, "", QUOTE] if theirs else lines


def _refinement(rows: Sequence[Row]) -> list[str]:
    """What refining gained by its own measure: ‖pruned − dense‖² over ‖dense‖² of the blocks' outputs."""
    blocks = [block for row in rows for block in row["blocks"] if block["refined"] is not None]
    if not blocks:
        return []
    before, after = (fmean(block[when] for block in blocks) for when in ("error", "refined"))
    return ["", f"Refining took the output error of a block, in the mean, from {before:.4f} to {after:.4f}."]


def _spread(values: Sequence[float], words: Callable[[float], str]) -> str:
    """Mean ± standard deviation of those that are known; a dash where none is."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "–"
    return words(fmean(known)) + (f" ± {words(stdev(known))}" if len(known) > 1 else "")


def perplexity(value: float) -> str:
    """Two digits behind the point, or none where it is large."""
    return f"{value:.2f}" if value < 1000 else f"{value:,.0f}"
