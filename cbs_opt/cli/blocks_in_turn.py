"""Work on one block after the other: a block that fails is reported, the others go on, and the exit code says so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import typer

from cbs_opt.cli.output import emit, sentence
from cbs_opt.errors import CbsOptError
from cbs_opt.kernel.terminal import working

if TYPE_CHECKING:
    from cbs_opt.kernel.problem import PruningProblem

T = TypeVar("T")

log = logging.getLogger("cbs_opt")

SUM_UNIT = "each block relative to the loss of removing it whole"
FOOTNOTE = "The gap is about the quadratic model of the loss, not about accuracy."


@dataclass
class InTurn(Generic[T]):
    """The results of several blocks, and the errors of those that failed.

    Parameters
    ----------
    done : list
        The result of each block that did not fail.
    units : list of float
        For each result, what the block's losses are divided by before they are added to those of other blocks.
    failed : dict
        The error message of each block that failed, by file.
    first : Exception, optional
        The first error.
    """

    done: list[T] = field(default_factory=list)
    units: list[float] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    first: Exception | None = None

    def emit(self, json: str | None, data: dict[str, Any], show: Callable[[], None]) -> None:
        """Show or write ``data`` and the errors; where a block failed, exit with 1, or with 2 if all input was bad."""
        failed = [{"file": file, "error": message} for file, message in self.failed.items()]
        emit(json, {**data, "failed": failed}, show)
        for file, message in self.failed.items():
            typer.echo(f"error: {file}: {message}", err=True)
        if self.failed:
            only_bad_input = not self.done and isinstance(self.first, CbsOptError)
            raise typer.Exit(2 if only_bad_input else 1)


def in_turn(
    files: Sequence[Path],
    load: Callable[[Path], PruningProblem],
    judge: Callable[[PruningProblem, Callable[[str], None]], T],
) -> InTurn[T]:
    """Call ``judge(problem, tell)`` for every block, while a spinner shows the words that ``tell`` is called with.

    Raises
    ------
    Exception
        The error of the block, if there is only one block.
    """
    blocks: InTurn[T] = InTurn()
    with working("comparing") as progress:
        for i, file in enumerate(files, 1):
            try:
                problem = load(file)
                where = f"block {i} of {len(files)}, {problem.name}: "

                def tell(words: str, where: str = where) -> None:
                    progress(where + words)

                found, unit = judge(problem, tell), _unit(problem)
            except Exception as error:
                log.debug("%s failed", file, exc_info=True)
                if len(files) == 1:
                    raise
                blocks.first = blocks.first or error
                blocks.failed[str(file)] = sentence(error).removeprefix(f"{file}: ")
                continue
            blocks.done.append(found)
            blocks.units.append(unit)
    return blocks


def _unit(problem: PruningProblem) -> float:
    """The loss of removing the whole block, which its losses are divided by before blocks are added, as in a study."""
    import numpy as np

    removed = problem.objective(np.zeros(problem.n))
    return removed if removed > 0 else 1.0
