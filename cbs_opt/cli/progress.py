"""A progress bar on stderr, drawn only if stderr is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cbs_opt.study.runner import OnProgress


@contextmanager
def progress_bar(what: str = "solving blocks") -> Iterator[OnProgress]:
    """Yields a callback for ``run_study(on_progress=…)``; draws nothing unless stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[block]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, block="")

        def advance(done: int, total: int, block: str) -> None:
            bar.update(task, completed=done, total=total, block=block)

        yield advance
