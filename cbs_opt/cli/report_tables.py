"""The report of a batch as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbs_opt.kernel.words import duration, gap, percent, plain_number, shown
from cbs_opt.report.build import ABOUT_THE_MODEL, BatchReport

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

MOST_BROKEN, MOST_FAILURES = 20, 10
"""The most lines that the lists of broken bounds and of failures have here; the CSV files have all of them."""


def report_tables(report: BatchReport) -> Group:
    """Broken bounds first, then a table for each request, the network's certified gap, and what failed."""
    from rich.console import Group
    from rich.text import Text

    counts = report.counts()
    head = f"{shown(report.records.source)}: {counts['blocks']:,} blocks, {counts['weights']:,} weights, "
    head += f"{counts['done']:,} results, {counts['failed']:,} failed"
    parts: list[Text | Table] = [Text(head)]
    parts += _alarm(report)
    if not report.summaries:
        parts.append(Text("There are no results in this store yet."))
    for asked in report.records.asked:
        parts += [Text(), _methods(report, asked)]
    for network in report.networks:
        parts += [Text(), _network(report, network.name)]
    parts += _failures(report)
    parts += [Text(f"\n{shown(warning, 500)}", style="yellow") for warning in report.warnings]
    footer = [*(shown(note, 400) for note in report.notes), ABOUT_THE_MODEL]
    parts.append(Text("\n".join(["", *footer]), style="dim"))
    return Group(*parts)


def _alarm(report: BatchReport) -> list[Text | Table]:
    from rich.text import Text

    if not report.broken:
        return []
    lines = [
        f"\nBROKEN BOUNDS: {len(report.broken):,}. A 'proven' bound lies above an answer: one of them is wrong, "
        "and no proof on these blocks holds."
    ]
    lines += [f"  {shown(bound.sentence(), 400)}" for bound in report.broken[:MOST_BROKEN]]
    if len(report.broken) > MOST_BROKEN:
        lines.append(f"  and {len(report.broken) - MOST_BROKEN:,} more (--csv writes all of them)")
    return [Text("\n".join(lines), style="bold red")]


def _table(title: str, headings: list[str], left: int = 1) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0, show_edge=False
    )
    for position, heading in enumerate(headings):
        drawn.add_column(
            heading,
            justify="left" if position < left else "right",
            vertical="bottom",
            overflow="ellipsis" if position < left else "fold",
            no_wrap=True,
        )
    return drawn


def _methods(report: BatchReport, asked: str) -> Table:
    from rich.text import Text

    headings = [
        "\nmethod",
        "\nblocks",
        "\nproven",
        "mean\ngap",
        "worst\ngap",
        "\nwins",
        "time\nmedian",
        "\n90 %",
        "\nlongest",
        "\nfailed",
    ]
    rows = [summary for summary in report.summaries if summary.asked == asked]
    untried = any(row.untried for row in rows)
    unbounded = any(row.unknown_gap for row in rows)
    headings += (["no\nbound"] if unbounded else []) + (["not\ntried"] if untried else [])
    drawn = _table(shown(asked), headings)
    for row in rows:
        median, ninety, _, longest = row.times
        cells = [shown(row.method, 40), f"{row.blocks:,}", percent(row.proven_share), gap(row.mean_gap)]
        cells += [gap(row.worst_gap), f"{row.wins:,}", duration(median), duration(ninety), duration(longest)]
        cells += [f"{row.failed:,}"] + ([f"{row.unknown_gap:,}"] if unbounded else [])
        cells += [f"{row.untried:,}"] if untried else []
        drawn.add_row(*map(Text, cells), style="bold green" if row.proven == row.blocks else None)
    return drawn


def _network(report: BatchReport, name: str) -> Table:
    from rich.text import Text

    title = f"Certified gap of {shown(name, 60)}" if name else "Sums over blocks of no network"
    if any(line.relative for line in report.network_gaps if line.network == name):
        title += "; each block relative to the loss of removing it whole"
    dense = [g.accuracy_dense for g in report.network_gaps if g.network == name and g.accuracy_dense is not None]
    if dense:
        title += f"; dense accuracy {percent(dense[0])}"
    headings = ["asked", "method", "objective", "bound", "gap", *(["accuracy"] if dense else []), "blocks"]
    drawn = _table(title, [*headings, "what is missing"], left=2)
    drawn.columns[-1].justify = "left"
    drawn.columns[-1].no_wrap = False
    for line in report.network_gaps:
        if line.network != name:
            continue
        sums = line.sums
        if line.of_the_network:
            verdict = gap(sums.gap)
        else:
            verdict = f"not the network's ({gap(sums.partial_gap)})" if name else gap(sums.partial_gap)
        cells = [shown(line.asked, 30), shown(line.method, 40), plain_number(sums.objective), plain_number(sums.bound)]
        cells += [
            verdict,
            *([percent(line.accuracy)] if dense else []),
            f"{sums.blocks - sums.missing:,}/{sums.blocks:,}",
            shown(line.missing(), 200),
        ]
        drawn.add_row(*map(Text, cells))
    return drawn


def _failures(report: BatchReport) -> list[Text | Table]:
    from rich.text import Text

    records = report.records
    failed = [row for row in range(len(records)) if not records.done[row]]
    if not failed:
        return []
    lines = [f"\nFailed: {len(failed):,}"]
    for line in report.summaries:
        if line.failed:
            lines.append(f"{shown(line.method, 40)} at {shown(line.asked, 30)}: {shown(line.why(), 200)}")
    for row in failed[:MOST_FAILURES]:
        name = shown(records.blocks.name[records.block[row]], 60)
        method = shown(records.methods[records.method[row]], 40)
        asked = shown(records.asked[records.request[row]], 30)
        lines.append(f"  {name}, {method} at {asked}: {records.reason[row]}: {shown(records.error[row], 200)}")
    if len(failed) > MOST_FAILURES:
        lines.append(f"  and {len(failed) - MOST_FAILURES:,} more (--csv writes all of them)")
    return [Text("\n".join(lines), style="red")]
