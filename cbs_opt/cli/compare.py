"""`cbs-opt compare`: the comparator's table, per block and over all blocks."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cbs_opt.cli.options import Gap, Json, PatternOption, Prune, Seed, Sparsity, TimeLimit, limits, split_names
from cbs_opt.cli.output import emit, load_asked, number, percent, say, seconds, sentence, table
from cbs_opt.cli.outputs import block_inputs, check_outputs
from cbs_opt.errors import CbsOptError, UnavailableMethodError
from cbs_opt.kernel.sums import total_bound
from cbs_opt.kernel.terminal import working

if TYPE_CHECKING:
    from cbs_opt.evaluation.comparator import Comparison
    from cbs_opt.kernel.problem import PruningProblem

log = logging.getLogger("cbs_opt")

COLUMNS = [
    ("method", "left"),
    ("loss as trained", "right"),
    ("loss re-tuned", "right"),
    ("recovered", "right"),
    ("gap", "right"),
    ("answer", "left"),
    ("time", "right"),
]
SUM_UNIT = "each block relative to the loss of removing it whole"
FOOTNOTE = "The gap is about the quadratic model of the loss, not about accuracy."


def compare(
    blocks: Annotated[list[Path], typer.Argument(metavar="BLOCK...", help="Block files, or folders of them.")],
    sparsity: Sparsity = None,
    prune: Prune = None,
    pattern: PatternOption = None,
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="A,B,C", help="Names from `cbs-opt methods`; left out: all that fit."),
    ] = None,
    time_limit: TimeLimit = None,
    gap: Gap = None,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Run several methods on the same blocks and judge them all by the best proven bound.

    A block that fails is reported, the others go on, and the exit code is 1 (2 when all of them fail).

    Example: cbs-opt compare blocks/ --sparsity 0.8 --methods magnitude,greedy-obs,bnb
    """
    from cbs_opt.evaluation.catalogue import method as find_method
    from cbs_opt.evaluation.comparator import compare as run
    from cbs_opt.kernel.asked import Asked
    from cbs_opt.kernel.block_file import block_files

    asked = Asked.of_options(sparsity, prune, pattern)
    names = split_names(methods, "--methods")
    for name in names or ():
        reason = find_method(name).unavailable_because()
        if reason:
            raise UnavailableMethodError(f"method {name}: {reason}; install it, or leave the method out")
    options = limits(time_limit, gap)
    files = block_files(blocks)
    check_outputs(json, inputs=block_inputs(blocks))
    done: list[Comparison] = []
    units: list[float] = []
    failed: dict[str, str] = {}
    first: Exception | None = None
    with working("comparing") as progress:
        for i, file in enumerate(files, 1):
            try:
                problem = load_asked(file, asked)
                where = f"block {i} of {len(files)}, {problem.name}: "
                done.append(run(problem, names, seed=seed, on_row=partial(_announce, progress, where), **options))
                units.append(_unit(problem))
            except Exception as error:
                log.debug("%s failed", file, exc_info=True)
                first = first or error
                message = sentence(error)
                failed[str(file)] = message.removeprefix(f"{file}: ")
    if not done and first is not None and len(files) == 1:
        raise first
    total = _sum(done, units) if len(done) > 1 else []
    data = {
        "blocks": [{**comparison.to_dict(), "unit": unit} for comparison, unit in zip(done, units, strict=True)],
        "sum": total,
        "sum_unit": SUM_UNIT if total else None,
        "failed": [{"file": file, "error": message} for file, message in failed.items()],
    }
    emit(json, data, lambda: _show(done, total, failed))
    for failure, message in failed.items():
        typer.echo(f"error: {failure}: {message}", err=True)
    if failed:
        only_bad_input = not done and isinstance(first, CbsOptError)
        raise typer.Exit(2 if only_bad_input else 1)


def _announce(progress: Callable[[str], None], where: str, method: str) -> None:
    progress(where + method)


def _unit(problem: PruningProblem) -> float:
    """What a block's losses are divided by where they are added to those of other blocks, as in a study."""
    import numpy as np

    removed = problem.objective(np.zeros(problem.n))
    return removed if removed > 0 else 1.0


def _sum(done: list[Comparison], units: list[float]) -> list[dict[str, Any]]:
    """Each method's sums over the blocks, each block in its unit: nothing says that their own units agree."""
    total: list[dict[str, Any]] = []
    in_all = [row.method for row in done[0].rows if all(row.method in {r.method for r in c.rows} for c in done)]
    for name in in_all:
        rows = [(comparison[name], unit) for comparison, unit in zip(done, units, strict=True)]
        objective = math.fsum(row.objective / unit for row, unit in rows)
        selection = math.fsum(row.selection_objective / unit for row, unit in rows)
        bound = total_bound((row.bound for row, _ in rows), units)
        # A block whose gap is 0 up to round-off adds nothing to the gap of the sum.
        missing = math.fsum((row.objective - row.bound) / unit for row, unit in rows if row.gap > 0)
        total.append(
            {
                "method": name,
                "n": sum(row.n for row, _ in rows),
                "pruned": sum(row.pruned for row, _ in rows),
                "selection_objective": selection,
                "objective": objective,
                "bound": bound,
                "gap": missing / abs(objective) if objective else missing,
                "recovered": (selection - objective) / abs(selection) if selection else 0.0,
                "proven": all(row.proven for row, _ in rows),
                "seconds": math.fsum(row.seconds for row, _ in rows),
            }
        )
    return total


def _show(done: list[Comparison], total: list[dict[str, Any]], failed: dict[str, str]) -> None:
    for comparison in done:
        title = f"{comparison.problem}: {comparison.pattern}; best proven bound {number(comparison.bound)}"
        say(table(title, COLUMNS, [_cells(row.to_dict()) for row in comparison.rows]))
        for name, reason in comparison.skipped.items():
            say(f"  left out: {reason if reason.startswith('method') else f'{name}: {reason}'}")
    if total:
        n = total[0]["n"]
        title = f"Sum over {len(done)} blocks, {n} weights, {SUM_UNIT}; "
        title += f"bound {number(total[0]['bound'])}"
        say(table(title, COLUMNS, [_cells(row) for row in total]))
    if failed:
        say(f"{len(failed)} of {len(done) + len(failed)} blocks failed.")
    if done:
        say(FOOTNOTE)


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["method"],
        number(row["selection_objective"]),
        number(row["objective"]),
        percent(row["recovered"]),
        percent(row["gap"]),
        _answer(row),
        seconds(row["seconds"]),
    ]


def _answer(row: dict[str, Any]) -> str:
    from cbs_opt.evaluation.catalogue import method as find_method
    from cbs_opt.kernel.method import Objective

    if not row["proven"]:
        return "feasible"
    return "proven" if find_method(row["method"]).objective is Objective.JOINT else "proven selection"
