"""What a benchmark records: rows as JSON, one a line, and a page made of all of them, one section a part."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cbs_opt.kernel.files import write_whole

Row = dict[str, Any]
Section = Callable[[Sequence[Row]], list[str]]


def read_rows(log: Path) -> list[Row]:
    """The rows of a log; none where there is no log yet."""
    return list(map(json.loads, log.read_text(encoding="utf-8").splitlines())) if log.exists() else []


def replace_rows(log: Path, fresh: Sequence[Row], key: Callable[[Row], object]) -> list[Row]:
    """Put rows into a log in the place of those with the same key; return all that are there then."""
    log.parent.mkdir(parents=True, exist_ok=True)
    replaced = {key(row) for row in fresh}
    rows = [row for row in read_rows(log) if key(row) not in replaced] + list(fresh)
    write_whole(log, lambda stream: stream.write("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return rows


def write_page(path: Path, introduction: str, sections: Mapping[str, Section], rows: Sequence[Row]) -> Path:
    """Write the sections of the parts that have rows; return where."""
    lines = [introduction]
    for part, section in sections.items():
        mine = [row for row in rows if row["part"] == part]
        if mine:
            lines += ["", *section(mine)]
    write_whole(path, lambda stream: stream.write(("\n".join(lines) + "\n").encode()))
    return path
