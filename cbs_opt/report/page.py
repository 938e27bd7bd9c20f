"""The HTML page of a batch's report: it is self-contained, loads nothing, and escapes every name as if hostile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from cbs_opt.kernel.result import GAP_TOLERANCE
from cbs_opt.kernel.words import duration, gap, percent, plain_number, scientific, shown
from cbs_opt.report.build import ABOUT_THE_MODEL, BatchReport
from cbs_opt.report.charts import charts, embedded
from cbs_opt.report.html import Cell, document, facts, pairs, table
from cbs_opt.report.networks import BEST, NetworkGap
from cbs_opt.report.summary import Summary

MOST_OPEN, MOST_FAILURES, MOST_BROKEN, MOST_ENVIRONMENTS = 100, 200, 50, 8
"""The most rows of the page's lists; the page says what they leave out, and the CSV files have all of it."""


def batch_page(report: BatchReport) -> str:
    """The page as text."""
    sections = [_head(report), _alarm(report), _networks(report), _methods(report), _charts(report)]
    sections += [_open(report), _failures(report), _about(report)]
    title = f"Batch report: {shown(Path(report.records.source).name)}"
    return document(
        title, "".join(sections), styles=["page.css", "charts.css"], scripts=["page.js", "charts.js"], sealed=True
    )


def _text(text: str, most: int = 120) -> str:
    return escape(shown(text, most))


def _head(report: BatchReport) -> str:
    counts, records = report.counts(), report.records
    cards = [("blocks", f"{counts['blocks']:,}"), ("weights", f"{counts['weights']:,}")]
    cards += [("results", f"{counts['done']:,}"), ("failed", f"{counts['failed']:,}")]
    for headline in _headlines(report):
        cards.append((f"certified gap at {shown(headline.asked, 40)}", gap(headline.sums.gap)))
    times = records.seconds[records.done & ~np.isnan(records.seconds)]
    cards.append(("time of all solves", duration(float(times.sum()))))
    warnings = "".join(f'<p class="warn">{_text(warning, 500)}</p>\n' for warning in report.warnings)
    return (
        f"<h1>Batch report: {_text(Path(records.source).name)}</h1>\n"
        f'<p class="soft">{_text(records.source, 300)} as it was on {escape(report.created.replace("T", ", "))}</p>\n'
        "<p>Each answer is judged against the best lower bound that <em>any</em> method proved on the same block: no "
        "mask and no weights can be below it.</p>\n"
        f'<p class="note">{escape(ABOUT_THE_MODEL)}</p>\n{warnings}{facts(cards)}'
    )


def _headlines(report: BatchReport) -> list[NetworkGap]:
    """The certified gap of the network for each request, by the best answers; nothing if there are several networks."""
    if sum(bool(network.name) for network in report.networks) != 1:
        return []
    found: dict[str, NetworkGap] = {}
    for line in report.network_gaps:
        if line.of_the_network:
            found.setdefault(line.asked, line)  # the best of all comes first
    return list(found.values())[:3]


def _alarm(report: BatchReport) -> str:
    if not report.broken:
        return ""
    lines = "".join(f"<li>{_text(bound.sentence(), 500)}</li>\n" for bound in report.broken[:MOST_BROKEN])
    rest = len(report.broken) - MOST_BROKEN
    more = f"<p>And {rest:,} more; all of them are in broken_bounds.csv.</p>" if rest > 0 else ""
    return (
        f'<section class="alarm" id="alarm" role="alert">\n<h2>Broken bounds: {len(report.broken):,}</h2>\n'
        "<p><strong>A ‘proven’ bound lies above an answer. That cannot be: a bound (or an objective) is wrong, and no "
        "proof on these blocks holds.</strong> Please report it with the block.</p>\n"
        f"<ul>\n{lines}</ul>\n{more}</section>\n"
    )


# ---------------------------------------------------------------- tables


def _networks(report: BatchReport) -> str:
    parts = []
    for network in report.networks:
        lines = [line for line in report.network_gaps if line.network == network.name]
        if not lines:
            continue
        if network.name:
            parts.append(f"<h2>Certified gap of {_text(network.name, 80)}</h2>\n")
            parts.append(
                "<p>The sum of the blocks' answers against the sum of their bounds. In the block-diagonal model, no "
                "other answer with these numbers of zeros in each block is better by more than the gap. The partial "
                "gap is over the blocks that have both an answer and a bound.</p>\n"
            )
        else:
            parts.append("<h2>Blocks of no network</h2>\n<p>Sums over files that came without a manifest.</p>\n")
        if network.mixed_units:
            parts.append(
                '<p class="soft">Its blocks are in different units, so that each counts relative to the loss '
                "of removing it whole.</p>\n"
            )
        parts.append(_network_table(lines))
        parts.append(_missing(lines))
    return "".join(parts)


def _missing(lines: Sequence[NetworkGap]) -> str:
    """Why some of the sums are not the network's; empty for blocks of no network, whose sums are not meant to be."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line.network and line.missing():
            reasons.setdefault((line.asked, line.missing()), []).append(line.method)
    if not reasons:
        return ""
    items = "".join(
        f"<li>{_text(asked)}, {_text(', '.join(methods), 300)}: {_text(reason, 300)}</li>\n"
        for (asked, reason), methods in reasons.items()
    )
    return (
        '<div class="warn"><p><strong>Not the network\'s gap</strong> where blocks are missing; those sums are of the '
        f"other blocks:</p>\n<ul>\n{items}</ul></div>\n"
    )


def _network_table(lines: Iterable[NetworkGap]) -> str:
    headings = ["method", "asked", "certified gap", "partial gap", "blocks with both", "objective", "bound"]
    headings += ["proven blocks", "worst block", "time"]
    lines, rows = list(lines), []
    dense = next((line.accuracy_dense for line in lines if line.accuracy_dense is not None), None)
    if dense is not None:
        headings.insert(3, f"accuracy (dense {percent(dense)})")
    for line in lines:
        sums = line.sums
        certified = gap(sums.gap) if line.of_the_network else "not known"
        measured = [] if dense is None else [Cell(percent(line.accuracy), line.accuracy)]
        rows.append(
            (
                "proven" if line.of_the_network and sums.gap <= GAP_TOLERANCE else "",
                [
                    Cell(shown(line.method, 80), text=True),
                    Cell(shown(line.asked, 40), text=True),
                    Cell(certified, sums.gap if line.of_the_network else None),
                    *measured,
                    Cell(gap(sums.partial_gap), sums.partial_gap),
                    Cell(f"{sums.blocks - sums.missing:,}/{sums.blocks:,}", sums.blocks - sums.missing),
                    Cell(plain_number(sums.objective), sums.objective),
                    Cell(plain_number(sums.bound), sums.bound),
                    Cell(f"{line.proven:,}", line.proven),
                    Cell(gap(line.worst_gap), line.worst_gap),
                    Cell(duration(line.seconds), line.seconds),
                ],
            )
        )
    return table(headings, rows)


def _methods(report: BatchReport) -> str:
    if not report.summaries:
        return "<p>There are no results in this store yet.</p>\n"
    parts = ["<h2>Methods</h2>\n"]
    for asked in report.records.asked:
        parts.append(f"<h3>{_text(asked)}</h3>\n")
        rows = [summary for summary in report.summaries if summary.asked == asked]
        parts.append(_summary_table(rows))
        parts += [
            f'<p class="soft">{_text(row.method, 80)} failed: {_text(row.why(), 300)}.</p>\n'
            for row in rows
            if row.failed
        ]
    parts.append(
        "<p><small>Proven: the answer meets the best bound of any method; the share is of all blocks the "
        "method was tried on, failed ones included. Wins: no other answer is better (alone: none is as "
        "good). Times: half, nine of ten, and ninety-nine of a hundred blocks took no longer. Click a heading "
        "to sort.</small></p>\n"
    )
    return "".join(parts)


def _summary_table(rows: Sequence[Summary]) -> str:
    headings = ["method", "blocks", "proven", "mean gap", "worst gap", "no bound", "wins", "alone", "time, median"]
    headings += ["90 %", "99 %", "longest", "total", "failed"]
    untried = any(row.untried for row in rows)
    lines = []
    for row in rows:
        cells = [
            Cell(shown(row.method, 80), text=True),
            Cell(f"{row.blocks:,}", row.blocks),
            Cell(percent(row.proven_share), row.proven_share),
            Cell(gap(row.mean_gap), row.mean_gap),
            Cell(gap(row.worst_gap), row.worst_gap),
            Cell(f"{row.unknown_gap:,}", row.unknown_gap),
            Cell(f"{row.wins:,}", row.wins),
            Cell(f"{row.sole_wins:,}", row.sole_wins),
            *(Cell(duration(time), time) for time in (*row.times, row.seconds)),
            Cell(f"{row.failed:,}", row.failed),
        ]
        if untried:
            cells.append(Cell(f"{row.untried:,}", row.untried))
        lines.append(("proven" if row.proven == row.blocks else "", cells))
    return table([*headings, "not tried yet"] if untried else headings, lines)


def _charts(report: BatchReport) -> str:
    if not report.summaries:
        return ""
    return (
        '<h2>Pictures</h2>\n<div id="charts"><p class="soft">The pictures are drawn by the script of this page; allow '
        "it to run.</p></div>\n"
        f'<script type="application/json" id="chart-data">{embedded(charts(report))}</script>\n'
    )


def _open(report: BatchReport) -> str:
    """The blocks whose best answer is furthest from its bound, on which more time would pay."""
    records = report.records
    rows: list[tuple[float, int, int]] = []
    for request in range(len(records.asked)):
        gaps = records.best_gaps(request)
        left = np.flatnonzero(gaps > GAP_TOLERANCE)
        rows += [(float(gaps[block]), int(block), request) for block in left]
    rows.sort(key=lambda row: (-row[0], row[1], row[2]))
    if not rows:
        return ""
    best = _best_rows(report, {(block, request) for _, block, request in rows[:MOST_OPEN]})
    headings = ["block", "asked", "gap", "n", "best method", "objective", "bound", "layer"]
    lines = []
    for value, block, request in rows[:MOST_OPEN]:
        row = best[block, request]
        cells = [
            Cell(shown(records.blocks.name[block], 80), text=True),
            Cell(shown(records.asked[request], 40), text=True),
            Cell(gap(value), value),
            Cell(str(records.blocks.n[block]), float(records.blocks.n[block])),
            Cell(shown(records.methods[records.method[row]], 80), text=True),
            Cell(scientific(float(records.objective[row])), float(records.objective[row])),
            Cell(scientific(float(records.best[row])), float(records.best[row])),
            Cell(shown(records.blocks.tensor[block], 80), text=True),
        ]
        lines.append(("", cells))
    more = f"; the {MOST_OPEN} with the largest gaps" if len(rows) > MOST_OPEN else ""
    return (
        f"<h2>Open blocks</h2>\n<p>On {len(rows):,} problems (a block and what was asked of it) the best answer of all "
        f"methods is not proven optimal{more}. All results are in results.csv.</p>\n"
        f"<details><summary>{min(len(rows), MOST_OPEN):,} rows</summary>\n{table(headings, lines, 'scroll tall')}"
        "</details>\n"
    )


def _best_rows(report: BatchReport, problems: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """For each problem (block, request), the row with the smallest objective."""
    records, best = report.records, dict[tuple[int, int], int]()
    for row in np.flatnonzero(records.done):
        problem = int(records.block[row]), int(records.request[row])
        if problem in problems and (problem not in best or records.objective[row] < records.objective[best[problem]]):
            best[problem] = int(row)
    return best


def _failures(report: BatchReport) -> str:
    records = report.records
    rows = np.flatnonzero(~records.done)
    if not len(rows):
        return ""
    reasons = ", ".join(f"{shown(reason, 40)}: {count:,}" for reason, count in report.reasons().items())
    lines = []
    for row in rows[:MOST_FAILURES]:
        lines.append(
            f'<tr><td class="text">{_text(records.blocks.name[records.block[row]], 80)}</td>'
            f'<td class="text">{_text(records.asked[records.request[row]], 40)}</td>'
            f'<td class="text">{_text(records.methods[records.method[row]], 80)}</td>'
            f'<td class="text">{_text(records.reason[row], 40)}</td>'
            f'<td class="text wrap">{_text(records.error[row], 300)}</td></tr>\n'
        )
    more = ""
    if len(rows) > MOST_FAILURES:
        more = f"<p><small>The first {MOST_FAILURES:,}; all of them are in failures.csv.</small></p>\n"
    heads = "".join(
        f'<th class="text"><button>{name}</button></th>'
        for name in ("block", "asked", "method", "reason", "what happened")
    )
    return (
        f'<h2 class="warn">Failed tasks: {len(rows):,}</h2>\n<p>{escape(reasons)}. `cbs-opt batch … --retry-failed` '
        f'tries them again.</p>\n<div class="scroll tall"><table><thead><tr>{heads}</tr></thead><tbody>\n'
        f"{''.join(lines)}</tbody></table></div>\n{more}"
    )


def _about(report: BatchReport) -> str:
    notes = "".join(f"<li>{_text(note, 300)}</li>\n" for note in report.notes)
    parts = ["<h2>How it was made</h2>\n", f"<ul>\n{notes}</ul>\n" if notes else ""]
    parts.append(f"<p><small>“{BEST}” takes each block's best answer, whichever method it is from.</small></p>\n")
    parts.append(f"<h3>Store</h3>\n{pairs({shown(str(k)): shown(str(v)) for k, v in report.records.facts.items()})}")
    for environment in report.records.environments[:MOST_ENVIRONMENTS]:
        plain = {shown(str(k), 40): shown(str(v), 80) for k, v in environment.items()}
        parts.append(f"<h3>Environment</h3>\n{pairs(plain)}")
    return "".join(parts)
