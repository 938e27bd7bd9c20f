"""The results of a study as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbs_opt.cli.output import left_out
from cbs_opt.kernel.words import duration, gap, percent, scientific
from cbs_opt.study.result import StudyResult, Summary

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def study_table(result: StudyResult) -> Group:
    """One table for each sparsity, then what the numbers mean and what failed; fits into 80 columns."""
    from rich.console import Group
    from rich.text import Text

    summaries = result.summaries()
    lines = [f"{result.subject}: {result.chosen} blocks, {result.weights} weights"]
    if result.dense_accuracy is not None:
        lines[0] += f", dense accuracy {percent(result.dense_accuracy)}"
    lines += [f"  {note}" for note in result.notes]
    parts: list[Text | Table] = [Text("\n".join(lines))]
    for sparsity in result.sparsities:
        rows = [summary for summary in summaries if summary.sparsity == sparsity]
        if rows:
            parts += [Text(), _table(sparsity, rows, result.dense_accuracy is not None)]
    footer = [*result.meaning, *left_out(result.skipped)]
    parts.append(Text("\n".join(["", *footer]), style="dim"))
    for failure in result.failures:
        parts.append(Text(f"failed: {failure.where}: {failure.reason}", style="red"))
    return Group(*parts)


def _table(sparsity: float, rows: list[Summary], with_accuracy: bool) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    most = max(rows, key=lambda row: row.blocks)
    table = Table(
        title=f"sparsity {sparsity:g}: {most.pruned} of {most.weights} weights pruned",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    table.add_column("\nmethod", no_wrap=True)
    headers = ["objective\nno update", "\nupdated", "\nbound", "\ngap", "worst\ngap", "\nproven", "\ntime"]
    headers += ["acc. no\nupdate", "acc.\nupdated"] if with_accuracy else []
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        cells = [
            scientific(row.selection_objective),
            scientific(row.objective),
            scientific(row.bound),
            gap(row.gap),
            gap(row.worst_gap),
            f"{row.proven}/{row.blocks}",
            duration(row.seconds),
        ]
        cells += [percent(row.selection_accuracy), percent(row.accuracy)] if with_accuracy else []
        everywhere = row.proven == row.blocks
        table.add_row(Text(row.method), *map(Text, cells), style="bold green" if everywhere else None)
    return table
