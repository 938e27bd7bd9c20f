"""`cbs-opt batch`: solves many blocks with many methods in parallel, and goes on where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cbs_opt.cli.options import Gap, Json, split_names
from cbs_opt.cli.output import emit, percent, say, table
from cbs_opt.cli.outputs import block_inputs, check_outputs
from cbs_opt.errors import InputError
from cbs_opt.kernel.terminal import working

if TYPE_CHECKING:
    from cbs_opt.batch import BatchResult, Plan, Settings

COLUMNS = [
    ("method", "left"),
    ("asked", "left"),
    ("answers", "right"),
    ("proven", "right"),
    ("worst gap", "right"),
    ("failed", "right"),
]


def batch(
    blocks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BLOCKS...]", help="Block files, folders of them, 'blocks/*.npz', or manifests."),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option("--study", metavar="FILE", help="A study file (TOML); the other options override what it says."),
    ] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", metavar="A,B,C", help="Names from `cbs-opt methods` (default bnb).")
    ] = None,
    sparsity: Annotated[
        str | None,
        typer.Option("--sparsity", metavar="R,R", help="Solve each block at each of these sparsities, 0 to 1."),
    ] = None,
    prune: Annotated[
        str | None,
        typer.Option("--prune", metavar="K,K", help="Solve each block for each of these numbers of weights to prune."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern",
            metavar="P,P",
            help="Solve each block for each of these patterns: '2:4,4:8', 'rows 0.25 & 2:4'.",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds", metavar="N,N", help="Run methods that draw at random with each of these seeds (default 0)."
        ),
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="FILE", help="Where results are kept (default results.sqlite).")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", min=1, help="How many workers (default: as many as there are cores)."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option("--backend", metavar="NAME", help="Where the workers run: loky (this machine), dask or ray."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Address of the Dask or Ray cluster.")
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit", metavar="S", help="Seconds that one task may take; one that takes longer is ended."
        ),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option("--memory-limit", metavar="SIZE", help="Memory that one task's process may take, such as 4GB."),
    ] = None,
    gap: Gap = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also solve the tasks that failed before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the tasks, and solve none.")] = False,
    json: Json = None,
) -> None:
    """Solve many blocks with many methods, in parallel, and keep every result in a store.

    Run the same command again to continue: what is finished is not solved a second time. A task that fails is
    recorded and the others go on; the exit code is then 1.

    Example: cbs-opt batch blocks/ --methods greedy-obs,bnb --sparsity 0.5,0.8 --store results.sqlite --jobs 8
    """
    settings = _settings(
        study,
        {
            "blocks": blocks,
            "methods": split_names(methods, "--methods"),
            "sparsity": split_names(sparsity, "--sparsity"),
            "prune": split_names(prune, "--prune"),
            "pattern": split_names(pattern, "--pattern"),
            "seeds": _numbers(seeds),
            "store": store,
            "jobs": jobs,
            "backend": backend,
            "scheduler": scheduler,
            "time_limit": time_limit,
            "memory_limit": memory_limit,
            "gap": gap,
        },
    )
    from cbs_opt.batch.inputs import matches
    from cbs_opt.store.database import files_of

    read = block_inputs(path for place in settings.blocks for path in matches(place))
    check_outputs(json, made=files_of(settings.store), inputs=[study, *read])
    if dry_run:
        from cbs_opt.batch import plan_batch

        with working("reading blocks"):
            plan = plan_batch(settings, retry_failed=retry_failed)
        emit(json, _counts(plan, settings), lambda: _show_plan(plan, settings))
        return
    from cbs_opt.batch import run_batch
    from cbs_opt.cli.batch_progress import shown

    with shown() as watcher:
        result = run_batch(settings, retry_failed=retry_failed, watcher=watcher)
    emit(json, result.to_dict(), lambda: _show(result))
    if result.interrupted:
        typer.echo(f"{result.left} tasks are left; the same command goes on with them", err=True)
    for text in result.broken:
        typer.echo(f"error: {text}", err=True)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _settings(study: str | None, flags: Mapping[str, Any]) -> Settings:
    """The settings of the study file, overridden by what the command line says."""
    from cbs_opt.batch import Settings, read_study
    from cbs_opt.kernel.asked import KINDS

    settings = Settings() if study is None else read_study(study)
    given = {key: value for key, value in flags.items() if value is not None}
    if "backend" in given and "scheduler" not in given and given["backend"] == "loky":
        settings = replace(settings, scheduler=None)
    if not any(kind in given for kind in KINDS) and not settings.asked:
        raise InputError("give --sparsity R, --prune K or --pattern P, or a --study that does")
    return settings.with_values(given)


def _numbers(text: str | None) -> list[int] | None:
    parts = split_names(text, "--seeds")
    if parts is None:
        return None
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--seeds: is {text!r}; whole numbers of 0 or more, separated by commas, are needed")
    return [int(part) for part in parts]


def _counts(plan: Plan, settings: Settings) -> dict[str, Any]:
    done, proven, _, failed = plan.tally.sums()
    return {
        "store": settings.store,
        "blocks": len(plan.blocks),
        "repeated": plan.repeated,
        "combinations": [
            {"method": c.spec.name, "asked": str(c.asked), "seed": c.seed, "options": c.all_options}
            for c in plan.combinations
        ],
        "left_out": plan.left_out,
        "asked": plan.tasks,
        "done": done,
        "proven": proven,
        "failed": failed,
        "again": plan.again,
        "to_do": len(plan.pending),
    }


def _show_plan(plan: Plan, settings: Settings) -> None:
    done, _, _, failed = plan.tally.sums()
    methods = len({c.spec.name for c in plan.combinations})
    say(f"{plan.tasks} tasks: {len(plan.blocks)} blocks, {methods} methods, {len(settings.asked)} patterns")
    say(f"  done before     {done}", f"  failed before   {failed}")
    say(f"  to do           {len(plan.pending)}" + (f", {plan.again} of them again" if plan.again else ""))
    if plan.repeated:
        say(f"  {plan.repeated} files hold what another file holds, too")
    for reason in plan.left_out.values():
        say(f"  left out: {reason}")


def _show(result: BatchResult) -> None:
    from cbs_opt.cli.batch_progress import duration

    rows = [
        [
            line.method,
            line.asked,
            str(line.done),
            str(line.proven),
            percent(line.worst) if line.exact else "–",
            str(line.failed),
        ]
        for line in result.tally.lines.values()
    ]
    if rows:
        say(table(None, COLUMNS, rows))
        if not all(line.exact for line in result.tally.lines.values()):
            say(f"–: a heuristic proves no bound; `cbs-opt report {result.store}` judges it by the best of any method")
    failed = result.tally.sums()[3]
    before = f", {result.before} before" if result.before else ""
    left = f", {result.left} left" if result.left else ""
    say(
        f"{result.asked} tasks: {result.solved} done now in {duration(result.seconds)}{before}{left}, {failed} failed; "
        f"results in {result.store}"
    )
    for text in result.notices:
        say(f"  note: {text}")
    if failed:
        say("  failed: " + ", ".join(f"{count} {reason}" for reason, count in sorted(result.tally.reasons.items())))
        for failure in result.failures:
            say(f"    {failure.file}, {failure.method}, {failure.asked}: {failure.reason}: {failure.error}")
        say("  --retry-failed does them again")
