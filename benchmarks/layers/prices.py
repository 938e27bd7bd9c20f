"""`python -m benchmarks.layers.prices --layers FOLDER`: what patterns cost on whole layers of a language model, proven.

For every layer of the folder (as `python -m benchmarks.layers` reads them) and every pattern: the relative objective
of the best mask that any of the methods found under any of the patterns, the bound, and the two sides of the price
against the cheapest pattern (`cbs_opt/evaluation/pattern_prices.py`). Losses are relative to that of pruning
everything. A layer replaces its own rows in `pattern_prices.jsonl`; the page `pattern_prices.md` is written anew from
all of them.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.layers.command import read_layer
from benchmarks.recording import Row, replace_rows, write_page
from cbs_opt.evaluation.pattern_prices import compare_patterns
from cbs_opt.kernel.environment import environment
from cbs_opt.kernel.result import finite_or_none
from cbs_opt.kernel.words import proven_percent

INTRODUCTION = """\
# What patterns cost on layers of a language model

Written by `python -m benchmarks.layers.prices`; every row is in [pattern_prices.jsonl](pattern_prices.jsonl). Losses
are relative to that of pruning the whole layer; the least loss under a pattern lies between the proven bound and that
of the best mask found. A pattern *costs at least* its bound over the best mask of the cheapest pattern, *at most* its
best mask over the bound of the cheapest: see [the price of a pattern](../pattern-prices.md). All this is about the
quadratic model of one layer, not about perplexity."""


def rows_of(file: Path, patterns: Sequence[str], methods: Sequence[str], time_limit: float) -> Iterator[Row]:
    """One row per pattern."""
    layer = read_layer(file)
    everything = layer.objective(np.zeros(layer.n))
    started = time.perf_counter()
    prices = compare_patterns(layer, patterns, methods, time_limit=time_limit)
    seconds = time.perf_counter() - started
    for price in prices.prices:
        yield {
            "part": "prices",
            "layer": file.stem,
            "rows": layer.curvature.rows,
            "n": layer.n,
            "damping": layer.curvature.damping,
            "cheapest": prices.cheapest,
            **price.to_dict(),
            "objective": price.objective / everything,
            "bound": price.bound / everything,
            "round_off": price.round_off / everything,
            "methods": list(methods),
            "time_limit": time_limit,
            "layer_seconds": seconds,
            "load": os.getloadavg()[0],
            "cbs-opt": environment()["cbs-opt"],
            "threads": environment()["threads"],
        }


def tables(rows: Sequence[Row]) -> list[str]:
    """A table and its sentences for each layer."""
    lines: list[str] = []
    for layer in dict.fromkeys(row["layer"] for row in rows):
        mine = [row for row in rows if row["layer"] == layer]
        first = mine[0]
        lines += [
            f"## {layer}",
            "",
            f"{first['rows']} × {first['n'] // first['rows']} weights; masks by {', '.join(first['methods'])}, "
            f"{first['time_limit']:g} s for each bound, {first['threads']} thread, {first['layer_seconds']:.0f} s "
            f"of the wall in all at a load of {first['load']:.1f}.",
            "",
            "| pattern | pruned | bound | best mask | gap | mask by | costs at least | at most |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_line(row) for row in mine]
        lines.append("")
        for row in mine:
            least = finite_or_none(_least(row))
            if least is not None and least > 0:
                words = f"no {row['pattern']} mask comes closer than {proven_percent(least, up=False)}"
                lines.append(f"- Proven: {words} to the best of {row['cheapest']}.")
        lines.append("")
    return lines[:-1]


def _line(row: Row) -> str:
    most = float("inf") if row["at_most"] is None else row["at_most"]
    under = "" if row["found_under"] == row["pattern"] else f", under {row['found_under']}"
    cells = (
        row["pattern"],
        f"{row['pruned'] / row['n']:.1%}",
        f"{row['bound']:.6f}",
        f"{row['objective']:.6f}",
        f"{row['gap']:.1%}",
        row["method"] + under,
        proven_percent(_least(row), up=False),
        proven_percent(most, up=True),
    )
    return f"| {' | '.join(cells)} |"


def _least(row: Row) -> float:
    return float("-inf") if row["at_least"] is None else float(row["at_least"])


def main(arguments: list[str] | None = None) -> int:
    """Measure, record, write the page."""
    import torch

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.layers.prices",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layers", type=Path, required=True, help="folder of layers")
    parser.add_argument("--only", default="", help="regular expression that the names of the layers shall match")
    parser.add_argument("--patterns", default="sparsity 0.5,quota-per-row 0.5,16:32,8:16,4:8,2:4")
    parser.add_argument("--methods", default="admm")
    parser.add_argument("--time-limit", type=float, default=45.0, help="seconds for the bound under each pattern")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the page and its rows")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    log = asked.out / "pattern_prices.jsonl"
    for file in sorted(asked.layers.glob("*.npz")):
        if re.search(asked.only, file.stem):
            fresh = list(rows_of(file, asked.patterns.split(","), asked.methods.split(","), asked.time_limit))
            rows = replace_rows(log, fresh, key=lambda row: row["layer"])
            print(write_page(asked.out / "pattern_prices.md", INTRODUCTION, {"prices": tables}, rows))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
