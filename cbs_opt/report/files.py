"""Writes the tables of a report as CSV or Parquet files into a folder, each file whole or not at all."""

from __future__ import annotations

import csv
import io
import os
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from cbs_opt.errors import UnavailableMethodError
from cbs_opt.kernel.files import prepare_folder, write_whole
from cbs_opt.report.build import BatchReport
from cbs_opt.report.tables import Table, tables


def require_parquet() -> None:
    """Raise, before any work is done, if Parquet files cannot be written."""
    if find_spec("pyarrow") is None:
        raise UnavailableMethodError("--parquet needs the package pyarrow; install it by `pip install cbs-opt[report]`")


def write_csv(report: BatchReport, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write one ``.csv`` for each table, in UTF-8; what is unknown is empty, booleans are true and false."""
    target = prepare_folder(folder)
    written = []
    for name, table in tables(report).items():
        # A name may hold half a character, which UTF-8 cannot.
        content = _csv(table).encode(errors="replace")
        written.append(_put(target / f"{name}.csv", content))
    return tuple(written)


def write_parquet(report: BatchReport, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write one ``.parquet`` for each table; what is unknown is null."""
    require_parquet()
    import pyarrow
    import pyarrow.parquet

    target = prepare_folder(folder)
    written = []
    for name, table in tables(report).items():
        columns = {column: [_clean(value) for value in values] for column, values in table.items()}
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
        written.append(_put(target / f"{name}.parquet", buffer.getvalue()))
    return tuple(written)


def _clean(value: Any) -> Any:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _csv(table: Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table)
    for row in zip(*table.values(), strict=True):
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in row])
    return stream.getvalue()


def _put(file: Path, content: bytes) -> Path:
    def write(stream: IO[bytes]) -> None:
        stream.write(content)

    write_whole(file, write)
    return file
