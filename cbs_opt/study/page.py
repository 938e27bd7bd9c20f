"""The HTML page of a study: it is self-contained, loads nothing, and escapes every name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from cbs_opt.kernel.words import duration, gap, percent, scientific
from cbs_opt.report.html import Cell, document, facts, pairs, table
from cbs_opt.report.style import INK
from cbs_opt.study.plots import Plot
from cbs_opt.study.result import BlockRow, StudyResult, Summary

MAX_BLOCK_ROWS = 5_000
"""The most rows of single blocks on the page; results.csv has all of them."""


def study_page(result: StudyResult, plots: Sequence[Plot]) -> str:
    """The page as text."""
    summaries = result.summaries()
    sections = [_head(result, summaries), _tables(result, summaries), _figures(plots)]
    sections += [_groups(result), _blocks(result), _failures(result), _about(result)]
    title = f"Pruning study: {result.subject}"
    return document(title, "".join(sections), styles=["page.css"], scripts=["page.js"])


def _head(result: StudyResult, summaries: Sequence[Summary]) -> str:
    cards = [("weights", f"{result.weights:,}"), ("blocks", result.chosen)]
    cards.append(("sparsities", ", ".join(f"{s:g}" for s in result.sparsities)))
    if result.dense_accuracy is not None:
        cards.append(("dense accuracy", percent(result.dense_accuracy)))
    if summaries:
        best = max(summaries, key=lambda s: s.proven / s.blocks).method
        proven = sum(s.proven for s in summaries if s.method == best)
        asked = sum(s.blocks for s in summaries if s.method == best)
        cards.append((f"proven by {best}", f"{proven}/{asked}"))
    cards.append(("wall time", duration(result.seconds)))
    about_gap, about_sums = result.meaning
    state = "" if result.complete else f'<p class="warn"><strong>Incomplete:</strong> {escape(result.message())}.</p>'
    return (
        f"<h1>Pruning study: {escape(result.subject)}</h1>\n"
        "<p>Each block of weights was pruned by every method, with and without re-tuning the weights that stay, and "
        "judged against a lower bound that is proven: no mask and no weights can do better.</p>\n"
        f'<p class="note"><strong>{escape(about_gap)}</strong> {escape(about_sums)}</p>\n{state}'
        f"{facts(cards)}"
    )


def _tables(result: StudyResult, summaries: Sequence[Summary]) -> str:
    if not summaries:
        return ""
    parts = ["<h2>Methods</h2>\n"]
    for sparsity in result.sparsities:
        rows = [summary for summary in summaries if summary.sparsity == sparsity]
        if rows:
            most = max(rows, key=lambda row: row.blocks)
            parts.append(f"<h3>Sparsity {sparsity:g}: {most.pruned:,} of {most.weights:,} weights pruned</h3>\n")
            parts.append(_summary_table(rows, result.dense_accuracy is not None))
    parts.append(
        "<p><small>“Proven optimal” counts the blocks whose answer meets the best bound of any method; “worst block” "
        "is the largest gap of one, and time that of all of them together. Click a heading to sort.</small></p>\n"
    )
    return "".join(parts)


def _summary_table(rows: Iterable[Summary], with_accuracy: bool, group: str | None = None) -> str:
    headings = ["method", "gap", "worst block", "proven optimal"]
    headings += ["accuracy, no update", "accuracy, updated"] if with_accuracy else []
    headings += ["objective, no update", "objective, updated", "bound", "time"]
    lines = []
    for row in rows:
        cells = [
            Cell(row.method, text=True),
            Cell(gap(row.gap), row.gap),
            Cell(gap(row.worst_gap), row.worst_gap),
            Cell(f"{row.proven}/{row.blocks}", row.proven),
        ]
        if with_accuracy:
            cells.append(Cell(percent(row.selection_accuracy), row.selection_accuracy))
            cells.append(Cell(percent(row.accuracy), row.accuracy))
        cells += [
            Cell(scientific(row.selection_objective), row.selection_objective),
            Cell(scientific(row.objective), row.objective),
            Cell(scientific(row.bound), row.bound),
            Cell(duration(row.seconds), row.seconds),
        ]
        lines.append(("proven" if row.proven == row.blocks else "", cells))
    return table(headings, lines)


def _figures(plots: Sequence[Plot]) -> str:
    parts = []
    for plot in plots:
        parts.append(
            f'<figure>\n<h3>{escape(plot.title)}</h3>\n<div class="wide">{_inline(plot.svg)}</div>\n'
            f'<div class="narrow">{_inline(plot.narrow)}</div>\n'
            f"<figcaption>{escape(plot.caption)}</figcaption>\n</figure>\n"
        )
    return "<h2>Pictures</h2>\n" + "".join(parts) if parts else ""


def _inline(picture: bytes) -> str:
    """A picture as a part of the page: it takes its ink from the page, light or dark, and its width from the column."""
    svg = picture.decode()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")  # no XML header inside HTML
    return re.sub(r'\b(?:width|height)="[^"]*pt"', "", svg, count=2)


def _groups(result: StudyResult) -> str:
    """The sums of each layer, whose blocks all have the same units."""
    groups = result.groups()
    if not 1 < len(groups) < len({row.row.problem for row in result.rows}):
        return ""
    parts = ["<h2>Layer by layer</h2>\n"]
    for group in groups:
        share = f": {result.share(group)}" if result.share(group) else ""
        parts.append(f"<details><summary>{escape(group)}{share}</summary>\n")
        summaries = result.summaries(group)
        for sparsity in result.sparsities:
            rows = [summary for summary in summaries if summary.sparsity == sparsity]
            if rows:
                parts.append(f"<h3>Sparsity {sparsity:g}</h3>\n{_summary_table(rows, False)}")
        parts.append("</details>\n")
    return "".join(parts)


def _blocks(result: StudyResult) -> str:
    if not result.rows:
        return ""
    headings = ["block", "sparsity", "method", "n", "pruned", "objective, no update", "objective, updated", "bound"]
    headings += ["gap", "status", "time", "nodes"]
    lines = [("proven" if row.row.proven else "", _block_cells(row)) for row in result.rows[:MAX_BLOCK_ROWS]]
    more = ""
    if len(result.rows) > MAX_BLOCK_ROWS:
        more = f"<p><small>The first {MAX_BLOCK_ROWS:,}; the rest is in results.csv.</small></p>\n"
    listed = table(headings, lines, "scroll tall")
    return f"<h2>Block by block</h2>\n<details><summary>{len(result.rows):,} rows</summary>\n{listed}{more}</details>\n"


def _block_cells(row: BlockRow) -> list[Cell]:
    judged = row.row
    return [
        Cell(judged.problem, text=True),
        Cell(f"{row.sparsity:g}", row.sparsity),
        Cell(judged.method, text=True),
        Cell(str(judged.n), judged.n),
        Cell(str(judged.pruned), judged.pruned),
        Cell(scientific(judged.selection_objective), judged.selection_objective),
        Cell(scientific(judged.objective), judged.objective),
        Cell(scientific(judged.bound), judged.bound),
        Cell(gap(judged.gap), judged.gap),
        Cell(judged.solution_status, text=True),
        Cell(duration(judged.seconds), judged.seconds),
        Cell(str(judged.nodes), judged.nodes),
    ]


def _failures(result: StudyResult) -> str:
    if not result.failures:
        return ""
    rows = "".join(
        f'<tr><td class="text">{escape(f.block)}</td><td>{"" if f.sparsity is None else f"{f.sparsity:g}"}</td>'
        f'<td class="text">{escape(f.method or "")}</td><td class="text wrap">{escape(f.reason)}</td></tr>\n'
        for f in result.failures
    )
    return (
        '<h2 class="warn">Failed blocks</h2>\n<div class="scroll"><table><thead><tr><th>block</th><th>sparsity</th>'
        f'<th class="text">method</th><th class="text">reason</th></tr></thead><tbody>\n{rows}</tbody></table></div>\n'
    )


def _about(result: StudyResult) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    parts = ["<h2>How it was made</h2>\n", f"<ul>{notes}</ul>\n" if notes else ""]
    if result.skipped:
        parts.append(f"<h3>Methods left out</h3>\n{pairs(result.skipped)}")
    parts.append(f"<h3>Settings</h3>\n{pairs({**result.settings, 'created': result.created})}")
    parts.append(f"<h3>Environment</h3>\n{pairs(result.environment)}")
    return "".join(parts)
