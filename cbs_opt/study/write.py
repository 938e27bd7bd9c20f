"""Writes the files of a study: JSON, CSV, plots and an HTML page, each of them whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

from cbs_opt.kernel.files import prepare_folder, write_whole
from cbs_opt.study.result import StudyResult

FOLDER = "cbs-study"
PLOTS = frozenset({"gap", "objective", "accuracy"})
FILES = ("results.json", "results.csv", "index.html", *(f"{plot}.{end}" for plot in PLOTS for end in ("png", "svg")))
"""The files that a study writes; those of an earlier study that it does not write, it removes."""


def write_study(result: StudyResult, folder: str | os.PathLike[str] = FOLDER) -> tuple[Path, ...]:
    """Write ``results.json``, ``results.csv``, the plots (PNG and SVG) and ``index.html`` into ``folder``.

    Other files in the folder are left alone; pictures of an earlier study that this one does not have are removed. The
    numbers are written first, so that they are safe if a picture fails.

    Parameters
    ----------
    result : StudyResult
        What ``run_study`` returned.
    folder : path
        The folder, which is made if it does not exist.

    Returns
    -------
    tuple of Path
        The files that were written, the page last; none if the study was interrupted before its first answer.
    """
    if not result.rows and not result.failures:
        return ()
    from cbs_opt.study.page import study_page
    from cbs_opt.study.plots import study_plots

    target = prepare_folder(folder)
    written: list[Path] = []

    def put(name: str, content: bytes) -> None:
        write_whole(target / name, lambda stream: stream.write(content))
        written.append(target / name)

    put("results.json", (json.dumps(result.to_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())
    put("results.csv", _csv(result).encode())
    plots = study_plots(result)
    for plot in plots:
        put(f"{plot.name}.png", plot.png)
        put(f"{plot.name}.svg", plot.svg)
    for stale in PLOTS - {plot.name for plot in plots}:
        for suffix in ("png", "svg"):
            (target / f"{stale}.{suffix}").unlink(missing_ok=True)
    put("index.html", study_page(result, plots).encode())
    return tuple(written)


def _csv(result: StudyResult) -> str:
    """The rows as CSV, one for each block, method and sparsity; what is unknown is empty."""
    stream = io.StringIO()
    rows = [row.to_dict() for row in result.rows]
    columns = list(rows[0]) if rows else ["sparsity", "group", "block", "method"]
    writer = csv.DictWriter(stream, [*columns, "complete"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        row["notes"] = "; ".join(row["notes"])
        writer.writerow({**row, "complete": str(result.complete).lower()})
    return stream.getvalue()
