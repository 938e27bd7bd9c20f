"""What the commands share to show results: JSON, tables, numbers in words, and errors of one line."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbs_opt.errors import CbsOptError
from cbs_opt.kernel.text import as_text
from cbs_opt.kernel.words import duration

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from cbs_opt.kernel.asked import Asked
    from cbs_opt.kernel.problem import PruningProblem

PLAIN_WIDTH = 160
"""Columns of a table that does not go to a terminal."""


def load_asked(path: Path, asked: Asked) -> PruningProblem:
    """The block at ``path`` under the pattern that is asked of it; errors name the file."""
    from cbs_opt.kernel.problem import PruningProblem

    problem = PruningProblem.load(path)
    try:
        return asked.of(problem)
    except CbsOptError as error:
        error.args = (f"{path}: {error}", *error.args[1:])
        raise


# ---------------------------------------------------------------- output


def emit(target: str | None, data: Mapping[str, Any], show: Callable[[], None]) -> None:
    """Show the result in words; with ``--json FILE`` also write it as JSON, with ``--json -`` print only the JSON."""
    if target is None:
        show()
        return
    text = json.dumps(plain(data), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    from cbs_opt.kernel.files import write_whole

    write_whole(target, lambda stream: stream.write(text.encode()))
    show()


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: NaN and infinities become None, arrays become lists, text is valid UTF-8."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {as_text(str(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    return as_text(str(value))


def say(*lines: object) -> None:
    """Print lines or tables to stdout; wide, and without colours, when it is not a terminal."""
    from rich.console import Console

    console = Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else PLAIN_WIDTH, markup=False, highlight=False, emoji=False
    )
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))


def table(title: str | None, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> Table | Group:
    """A table; ``columns`` are (heading, 'left' or 'right'), the cells are text as it is.

    The title is a line above it, which may be longer than the table is wide.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading, side in columns:
        drawn.add_column(heading, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return Group(Text(title), drawn) if title else drawn


def left_out(skipped: Mapping[str, str]) -> list[str]:
    """The methods that did not run everywhere: a line for each that failed, and one line for all that do not fit."""
    news = {name: reason for name, reason in skipped.items() if reason.startswith(("failed", "left out of"))}
    others = [name for name in skipped if name not in news]
    lines = [f"{name}: {reason}" for name, reason in news.items()]
    if others:
        lines.append(f"left out: {', '.join(others)} (`cbs-opt methods NAME` or --json say why)")
    return lines


def number(value: float | None) -> str:
    """Six significant digits, or a dash where there is no number."""
    return f"{value:.6g}" if value is not None and math.isfinite(value) else "–"


def percent(value: float | None) -> str:
    """A share, such as a gap, in percent: '0.12 %'; 'unknown' where there is no finite number."""
    if value is None or not math.isfinite(value):
        return "unknown"
    return f"{100 * value:.2g} %" if 0 < value < 0.1 else f"{100 * value:.1f} %" if value else "0 %"


def seconds(value: float | None) -> str:
    """Seconds with three digits; less than a tenth of a second in ms or µs."""
    if value is None or not math.isfinite(value):
        return "–"
    return duration(value) if 0 < value < 0.095 else f"{value:.3g} s"


def sentence(error: BaseException | str) -> str:
    """An error as one line without control characters; its class is named unless it is an error of this package."""
    text = " ".join(str(error).split())
    text = "".join(character if character.isprintable() else "�" for character in text)
    if isinstance(error, (str, CbsOptError)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
