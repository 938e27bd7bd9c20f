"""One block after the other: what fails is reported, the others go on, and the exit code says so."""

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
    """What came of some blocks.

    Parameters
    ----------
    done : list
        What was found out of each block that did not fail.
    units : list of float
        What the losses of each of these are divided by where they are added to those of other blocks.
    failed : dict
        File and error message of the others.
    first : Exception, optional
        The first error.
    """

    done: list[T] = field(default_factory=list)
    units: list[float] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    first: Exception | None = None

    def emit(self, json: str | None, data: dict[str, Any], show: Callable[[], None]) -> None:
        """Show or write ``data`` and what failed, and leave with the exit code: 2 where all input was bad, 1, or 0."""
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
    """``judge(problem, tell)`` of every block, with a spinner that says what ``tell`` is told.

    Raises
    ------
    Exception
        That of the only block, as it is.
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
    """What a block's losses are divided by where they are added to those of other blocks, as in a study."""
    import numpy as np

    removed = problem.objective(np.zeros(problem.n))
    return removed if removed > 0 else 1.0
