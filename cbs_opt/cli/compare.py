"""`cbs-opt compare`: a table of methods for each block, and one for their sum."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cbs_opt.cli.blocks_in_turn import FOOTNOTE, SUM_UNIT, in_turn
from cbs_opt.cli.compare_patterns import compare_patterns
from cbs_opt.cli.options import Gap, Json, PatternOption, Prune, Seed, Sparsity, limits, split_names
from cbs_opt.cli.output import left_out, load_asked, number, percent, say, seconds, table
from cbs_opt.cli.outputs import block_inputs, check_outputs
from cbs_opt.errors import InputError, UnavailableMethodError
from cbs_opt.kernel.sums import total_bound

if TYPE_CHECKING:
    from cbs_opt.evaluation.comparator import Comparison

COLUMNS = [
    ("method", "left"),
    ("loss as trained", "right"),
    ("loss re-tuned", "right"),
    ("recovered", "right"),
    ("gap", "right"),
    ("answer", "left"),
    ("time", "right"),
]


def compare(
    blocks: Annotated[list[Path], typer.Argument(metavar="BLOCK...", help="Block files, or folders of them.")],
    sparsity: Sparsity = None,
    prune: Prune = None,
    pattern: PatternOption = None,
    patterns: Annotated[
        str | None,
        typer.Option(
            "--patterns",
            metavar="P,Q,…",
            help="Price these patterns instead: 'sparsity 0.5,2:4,4:8' says what each costs against the cheapest.",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="A,B,C", help="Names from `cbs-opt methods`; left out: all that fit."),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit", metavar="S", help="Seconds for each exact method, and for a bound if no method proves one."
        ),
    ] = None,
    gap: Gap = None,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Run several methods on the same blocks and judge them all by the best proven bound.

    With --patterns it finds the price of each of several patterns: between which two numbers the least loss under it
    lies, and how much more that is, proven, than under the cheapest pattern. For several blocks there is a table of
    their sum, too.

    A block that fails is reported, the others go on, and the exit code is 1 (2 if the input of all of them is bad).

    Example: cbs-opt compare blocks/ --sparsity 0.8 --methods magnitude,greedy-obs,bnb
    """
    from cbs_opt.evaluation.catalogue import method as find_method
    from cbs_opt.evaluation.comparator import compare as run
    from cbs_opt.kernel.asked import Asked
    from cbs_opt.kernel.block_file import block_files

    names = split_names(methods, "--methods")
    for name in names or ():
        reason = find_method(name).unavailable_because()
        if reason:
            raise UnavailableMethodError(f"method {name}: {reason}; install it, or leave the method out")
    options = {"seed": seed, **limits(time_limit, gap)}
    if patterns is not None:
        if (sparsity, prune, pattern) != (None, None, None):
            raise InputError("--patterns: takes the place of --sparsity, --prune and --pattern; leave these out")
        compare_patterns(blocks, split_names(patterns, "--patterns") or [], names, options, json)
        return
    asked = Asked.of_options(sparsity, prune, pattern)
    files = block_files(blocks)
    check_outputs(json, inputs=block_inputs(blocks))
    compared = in_turn(
        files,
        lambda file: load_asked(file, asked),
        lambda problem, tell: run(problem, names, on_row=tell, **options),
    )
    done, units = compared.done, compared.units
    total = _sum(done, units) if len(done) > 1 else []
    data = {
        "blocks": [{**comparison.to_dict(), "unit": unit} for comparison, unit in zip(done, units, strict=True)],
        "sum": total,
        "sum_unit": SUM_UNIT if total else None,
    }
    compared.emit(json, data, lambda: _show(done, total, compared.failed))


def _sum(done: list[Comparison], units: list[float]) -> list[dict[str, Any]]:
    """Each method's sums over the blocks, each loss divided by its block's unit, as blocks may differ in scale."""
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
        for line in left_out(comparison.skipped):
            say(f"  {line}")
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
