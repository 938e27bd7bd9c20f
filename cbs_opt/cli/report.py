"""`cbs-opt report`: shows what a store holds, in the terminal, as files of tables and as an HTML page."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from cbs_opt.cli.options import Json
from cbs_opt.cli.output import emit, say
from cbs_opt.cli.outputs import block_inputs, check_outputs
from cbs_opt.errors import InputError
from cbs_opt.kernel.terminal import working


def report(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store of `cbs-opt batch`, finished or not.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one self-contained HTML page.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FOLDER", help="Write every table as CSV into this folder.")
    ] = None,
    parquet: Annotated[
        Path | None,
        typer.Option(
            "--parquet", metavar="FOLDER", help="Write every table as Parquet into this folder (needs pyarrow)."
        ),
    ] = None,
    accuracy: Annotated[
        bool,
        typer.Option("--accuracy", help="Put each method's answers into the network, and measure its accuracy."),
    ] = False,
    json: Json = None,
) -> None:
    """Report on a batch: gaps, proofs, times and failures by method, and the certified gap of the network.

    The batch may still be running: the report is about what is finished. The exit code is 1 if a bound that is called
    proven lies above an answer, which is a bug.

    Example: cbs-opt report results.sqlite --html report.html
    """
    from cbs_opt.cli.report_tables import report_tables
    from cbs_opt.kernel.files import prepare_folder, write_whole
    from cbs_opt.report.build import build_report
    from cbs_opt.report.files import require_parquet, write_csv, write_parquet
    from cbs_opt.report.networks import found_manifest
    from cbs_opt.report.page import batch_page
    from cbs_opt.report.tables import NAMES
    from cbs_opt.store import open_store
    from cbs_opt.store.database import files_of

    if parquet is not None:
        require_parquet()
    tables = [(csv, ".csv"), (parquet, ".parquet")]
    made = [folder / f"{name}{suffix}" for folder, suffix in tables if folder is not None for name in NAMES]
    made += [folder for folder in dict.fromkeys((csv, parquet)) if folder is not None]
    manifests = []
    with open_store(store) as opened:
        for name in opened.manifests():
            with suppress(InputError):  # one that is gone is not read
                manifests.append(found_manifest(name, store.parent))
    check_outputs(html, json, made=made, inputs=[*files_of(store), *block_inputs(manifests)])
    for folder in (csv, parquet):
        if folder is not None:
            prepare_folder(folder)
    with working("reading the store"), open_store(store) as opened:
        found = build_report(opened)
    if accuracy:
        from cbs_opt.report.accuracy import with_accuracy

        with working("measuring accuracy") as tell:
            found = with_accuracy(found, tell)
    written: list[str] = []
    with working("writing"):
        if csv is not None:
            written.append(f"{len(write_csv(found, csv))} tables in {csv}")
        if parquet is not None:
            written.append(f"{len(write_parquet(found, parquet))} tables in {parquet}")
        if html is not None:
            page = batch_page(found).encode(errors="replace")
            write_whole(html, lambda stream: stream.write(page))
            written.append(str(html))

    def show() -> None:
        say(report_tables(found))
        if written:
            say("", "written: " + ", ".join(written))

    emit(json, found.to_dict(), show)
    if found.broken:
        typer.echo(
            f"error: {len(found.broken):,} answers lie below a bound that is called proven; no proof on their "
            "blocks holds, please report them",
            err=True,
        )
        raise typer.Exit(found.exit_code)
