"""Options that several commands share, and the checks of what they say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cbs_opt.cli.output import load_asked
from cbs_opt.errors import InputError

if TYPE_CHECKING:
    from cbs_opt.kernel.problem import PruningProblem

Block = Annotated[Path, typer.Argument(metavar="BLOCK", help="A block file (.npz).")]

Sparsity = Annotated[
    float | None, typer.Option("--sparsity", metavar="R", help="Prune at least this share of the weights, 0 to 1.")
]

Prune = Annotated[int | None, typer.Option("--prune", metavar="K", help="Prune at least this many weights.")]

PatternOption = Annotated[
    str | None,
    typer.Option(
        "--pattern",
        metavar="P",
        help="N:M keeps at most N of every M consecutive weights of a row, as in 2:4. For blocks also 'rows 0.25', "
        "'columns 0.5', 'blocks-of-4 0.5', 'quota-per-row 0.5', or several of these joined by &.",
    ),
]

TimeLimit = Annotated[
    float | None, typer.Option("--time-limit", metavar="S", help="Seconds that each exact method may take.")
]

Gap = Annotated[
    float | None, typer.Option("--gap", metavar="G", help="Relative gap at which an exact method may stop.")
]

Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed for methods that draw at random.")]

Json = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE|-", help="Write the result as one JSON object; - prints it, and nothing else."
    ),
]


def load_problem(path: Path, sparsity: float | None, prune: int | None, pattern: str | None = None) -> PruningProblem:
    """The block at ``path`` under the sparsity, number or pattern that was asked for; errors name the file."""
    from cbs_opt.kernel.asked import Asked

    return load_asked(path, Asked.of_options(sparsity, prune, pattern))


def limits(time_limit: float | None, gap: float | None) -> dict[str, Any]:
    """Those of the two limits that were given, checked, as options of a method."""
    from cbs_opt.kernel.arrays.validate import as_nonnegative

    options: dict[str, Any] = {}
    if time_limit is not None:
        options["time_limit"] = time_limit if time_limit == math.inf else as_nonnegative(time_limit, "time_limit")
    if gap is not None:
        options["gap"] = as_nonnegative(gap, "gap")
    return options


def split_names(names: str | None, what: str) -> list[str] | None:
    """'a, b' → ['a', 'b']; None stays None."""
    if names is None:
        return None
    parts = [name.strip() for name in names.split(",") if name.strip()]
    if not parts:
        raise InputError(f"{what}: names nothing; separate names by commas")
    return parts
