"""'Is a lower layer error a better model?' in words, all of them from the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.llm.analysis import Agreement, Figure, Point, agreement, exceptions, patterns_of
from benchmarks.recording import Row

QUESTION = "## Is a lower layer error a better model?"

CLOSE, LOOSE = 0.9, 0.5
"""Rank correlations from which on one figure is said to tell, or to hint at, the other."""

FIGURES: dict[str, Figure] = {"layer error": lambda p: p.error, "gap": lambda p: p.gap}

WITHIN = """\
Within each pattern and seed, over all selectors: ρ is Spearman's rank correlation of the mean layer error (of the
mean gap) with perplexity, 1 where the lower one always is the better model, its mean where several seeds have three
networks. Pairs: of all twos of networks of one seed, those where the lower one is the lower perplexity. Networks
whose weights were refined on whole blocks are in the first columns and not in the second: no layer error is about
what refining does."""

GAPS = """\
The bound of a layer is the same for all selectors of a seed, so within a pattern the gap ranks the networks of a
seed much as the layer error does; what it adds is how much lower the error of *any* mask could be."""


def answer(points: Sequence[Point]) -> list[str]:
    """The section; empty before any pattern has three networks."""
    patterns = [name for name in patterns_of(points) if not math.isnan(_of(points, name, FIGURES["layer error"]).rho)]
    if not patterns:
        return []
    lines = [QUESTION, ""]
    for name, figure in FIGURES.items():
        lines += _verdict(name, {pattern: _of(points, pattern, figure) for pattern in patterns})
    plain = [point for point in points if not point.refined]
    if len(plain) < len(points):
        among = {pattern: _of(plain, pattern, FIGURES["layer error"]) for pattern in patterns}
        lines += _verdict("layer error", among, "Among networks that were not refined: ")
    lines += _exceptions(points, patterns)
    lines += ["", WITHIN, "", *_table(points, patterns)]
    if any(math.isfinite(point.gap) for point in points):
        lines += ["", GAPS]
    return [*lines, "", "![perplexity against layer error](llm.png)"]


def _of(points: Sequence[Point], pattern: str, figure: Figure) -> Agreement:
    return agreement([point for point in points if point.pattern == pattern], figure)


def _verdict(name: str, found: dict[str, Agreement], before: str = "") -> list[str]:
    """One sentence; none where the figure ranks nothing."""
    known = {pattern: one for pattern, one in found.items() if not math.isnan(one.rho)}
    if not known:
        return []
    least = min(known, key=lambda pattern: known[pattern].rho)
    most = max(known, key=lambda pattern: known[pattern].rho)
    right, pairs = sum(one.right for one in known.values()), sum(one.pairs for one in known.values())
    rhos = f"{signed(known[least].rho)} ({in_words(least)})"
    if least != most:
        rhos += f" … {signed(known[most].rho)} ({in_words(most)})"
    share = f"{right} of {pairs} pairs are in its order, ρ = {rhos}"
    return [f"- **{before}{_judged(name, known[least].rho, right == pairs)}** {share}."]


def _judged(name: str, least: float, always: bool) -> str:
    if always:
        return f"The lower mean {name} always is the better model here."
    if least >= CLOSE:
        return f"The lower mean {name} nearly always is the better model here."
    if least >= LOOSE:
        return f"The lower mean {name} is the better model as a rule, not always."
    return f"The mean {name} does not tell which model is better, at least not for every pattern."


def _exceptions(points: Sequence[Point], patterns: Sequence[str]) -> list[str]:
    """The twos of selectors that the mean over the seeds puts in the wrong order."""
    lines = []
    for pattern in patterns:
        mine = [point for point in points if point.pattern == pattern]
        for lower, better in exceptions(mine, FIGURES["layer error"]):
            lines.append(f"- {in_words(pattern)}: *{lower}* has the lower error, *{better}* the lower perplexity.")
    if not lines:
        return ["", "In the means over the seeds no two selectors are in another order by one than by the other."]
    return ["", "In the means over the seeds these are in another order:", "", *lines]


def _table(points: Sequence[Point], patterns: Sequence[str]) -> list[str]:
    plain = [point for point in points if not point.refined]
    lines = [
        "| pattern | networks | ρ, layer error | pairs | not refined: ρ | pairs | with a gap | ρ, gap | pairs |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for pattern in patterns:
        every = _of(points, pattern, FIGURES["layer error"])
        unrefined = _of(plain, pattern, FIGURES["layer error"])
        gap = _of(points, pattern, FIGURES["gap"])
        cells = [str(every.networks), *_cells(every), *_cells(unrefined), str(gap.networks), *_cells(gap)]
        lines.append(f"| {in_words(pattern)} | {' | '.join(cells)} |")
    return lines


def _cells(found: Agreement) -> tuple[str, str]:
    return signed(found.rho), f"{found.right} of {found.pairs}" if found.pairs else "–"


def signed(rho: float) -> str:
    """A correlation with its sign."""
    return "–" if math.isnan(rho) else f"{rho:+.2f}".replace("-", "−")


def in_words(pattern: str) -> str:
    """'50 %', '2:4'."""
    return pattern if ":" in pattern else f"{100 * float(pattern):g} %"


def encoder(row: Row) -> list[str]:
    """The section of the sentence encoder."""
    settings = row["settings"]
    beside = (row["memory"]["peak"] - row["memory"]["held"]) / 2**20
    return [
        "## A sentence encoder",
        "",
        f"all-MiniLM-L6-v2, {row['n']:,} weights in linear layers, `cbs_opt.prune(model, sentences, "
        f"{row['sparsity']:.2g})` and nothing else said: it took curvature *{settings['curvature']}*, method "
        f"*{settings['method']}*, allocation *{settings['allocation'] or '–'}*, {settings['samples']:,} sentences of "
        "the validation text. Embeddings are means over tokens; cosines are to the dense encoder's, over "
        f"{row['sentences']} sentences of the test text.",
        "",
        "| | mean cosine | least cosine | seconds | memory beside the model, MiB |",
        "|---|---:|---:|---:|---:|",
        f"| ours | {row['cosine']:.4f} | {row['cosine_least']:.4f} | {row['seconds_in_all']:.0f} | {beside:.0f} |",
        f"| magnitude | {row['cosine_magnitude']:.4f} | | | |",
    ]
