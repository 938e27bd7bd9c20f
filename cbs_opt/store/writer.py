"""Writing a store: one writer at a time, and one transaction for each group of results."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from cbs_opt.errors import StoreError
from cbs_opt.kernel.files import require_writable
from cbs_opt.store import schema
from cbs_opt.store.damage import RESULT, check, options_of
from cbs_opt.store.database import connect, damage, troubles
from cbs_opt.store.lock import exclusive
from cbs_opt.store.reader import ARRAYS, RESULT_COLUMNS
from cbs_opt.store.rows import Block, Record

_WRITTEN = (*(name for name in RESULT_COLUMNS if name not in ("id", "attempts")), *ARRAYS)
_INSERT = (
    f"INSERT INTO results ({', '.join(_WRITTEN)}, attempts) VALUES ({', '.join('?' for _ in _WRITTEN)}, 1) "
    f"ON CONFLICT (key) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _WRITTEN)}, attempts = attempts + 1 "
    "RETURNING id, attempts"
)
_KNOWN = (
    "id",
    "status",
    "reason",
    "solution_status",
    "termination_condition",
    "options",
    "objective",
    "bound",
    "gap",
    "selection_objective",
    "selection_bound",
    "round_off",
)
"""The columns of a stored result that are read to decide whether its task is done, and that are checked for damage."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a store knows under a key: enough to decide whether the task is solved again, and to count its result."""

    done: bool
    reason: str | None
    proven: bool
    termination: str | None
    time_limit: float | None
    gap: float | None


class StoreWriter:
    """A store of results, opened for writing, and made if there is none. Use it in a ``with`` statement.

    While it is open, no other writer can open it, but readers can. What was written is safe if this process dies.

    Parameters
    ----------
    path : path
        The SQLite file.

    Raises
    ------
    StoreError
        The file is no store, has another version of the schema or is read-only, the disk is full, or another writer has
        opened it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._blocks: dict[str, int] = {}
        self._environments: dict[str, int] = {}
        require_writable(path)
        with ExitStack() as stack:
            stack.enter_context(exclusive(path))
            if self.path.exists() and not os.access(path, os.W_OK):
                raise StoreError(f"{path}: cannot be written to (read-only); change its permissions, or name another")
            self._database = connect(path, "rwc")
            stack.callback(self._database.close)
            with troubles(path):
                self._fresh = schema.is_empty(self._database)
                if self._fresh:
                    self._database.execute("PRAGMA journal_mode = WAL")
                    schema.create(self._database)
                self.facts = schema.check(self._database, str(path))
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")
                self._database.execute("PRAGMA foreign_keys = ON")
            self._stack = stack.pop_all()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the store; one that was made here is removed if an error came before anything was written."""
        if kind is not None and self._fresh:
            self._stack.callback(self.path.unlink, missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the store and let others write; it is then one plain file, unless a reader has it open."""
        with suppress(sqlite3.Error):
            self._database.execute("PRAGMA busy_timeout = 0")
            self._database.execute("PRAGMA journal_mode = DELETE")
        self._stack.close()

    def known(self, key: str) -> Known | None:
        """What is stored under ``key``; None if nothing is."""
        return known_in(self._database, self.path, key)

    def write(self, records: Iterable[Record]) -> None:
        """Add results, or replace those with the same keys, in one transaction.

        Raises
        ------
        StoreError
            The disk is full, gone or read-only. None of these results is then stored; earlier ones are safe.
        """
        with troubles(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for record in records:
                    self._put(record)
                self._database.execute("COMMIT")
                self._fresh = False
            except BaseException:
                self._blocks.clear()
                self._environments.clear()
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _put(self, record: Record) -> None:
        result = record.result
        values = {
            **result.__dict__,
            "block": self._block(record.block),
            "options": json.dumps(dict(result.options), sort_keys=True, allow_nan=False),
            "notes": json.dumps(list(result.notes), ensure_ascii=False),
            "mask": record.mask,
            "weights": record.weights,
            "environment": self._environment(record.environment) if record.environment else None,
        }
        ((number, attempts),) = self._database.execute(_INSERT, [values[name] for name in _WRITTEN]).fetchall()
        if attempts > 1:
            self._database.execute("DELETE FROM traces WHERE result = ?", [number])
        if record.trace:
            self._database.executemany(
                "INSERT INTO traces VALUES (?, ?, ?, ?)",
                [(number, point.seconds, point.incumbent, point.bound) for point in record.trace],
            )

    def _block(self, block: Block) -> int:
        """The id of a block, which is added if it is new; fields that were unknown are filled in."""
        if block.content in self._blocks:
            return self._blocks[block.content]
        columns = ("content", "name", "file", "n", "tensor", "first", "manifest", "unit")
        later = ("n", "tensor", "first", "manifest", "unit")
        filled = ", ".join(f"{name} = coalesce({name}, excluded.{name})" for name in later)
        ((number,),) = self._database.execute(
            f"INSERT INTO blocks ({', '.join(columns)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            # A block that could not be read (n is NULL) was given the name of its file.
            "ON CONFLICT (content) DO UPDATE SET "
            f"name = CASE WHEN n IS NULL THEN excluded.name ELSE name END, {filled} RETURNING id",
            [getattr(block, name) for name in columns],
        ).fetchall()
        if block.n is not None:
            if len(self._blocks) >= 4096:
                self._blocks.clear()
            self._blocks[block.content] = number
        return int(number)

    def _environment(self, facts: Mapping[str, str]) -> int:
        content = json.dumps(dict(facts), sort_keys=True)
        if content not in self._environments:
            self._database.execute("INSERT OR IGNORE INTO environments (content) VALUES (?)", [content])
            (number,) = self._database.execute("SELECT id FROM environments WHERE content = ?", [content]).fetchone()
            self._environments[content] = int(number)
        return self._environments[content]


class StoreLookup:
    """Looks up keys in a store without writing, to count the tasks that are left; without a store, none is known.

    Parameters
    ----------
    path : path
        The SQLite file, which need not exist.

    Raises
    ------
    StoreError
        The file is no store, or has another version of the schema.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._database = None
        if self.path.exists():
            from cbs_opt.store.reader import open_store

            open_store(path).close()
            self._database = connect(path, "ro")

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()

    def known(self, key: str) -> Known | None:
        """What is stored under ``key``; None if nothing is."""
        return None if self._database is None else known_in(self._database, self.path, key)


def known_in(database: sqlite3.Connection, path: Path, key: str) -> Known | None:
    """What the database has stored under ``key``; None if nothing is."""
    with troubles(path):
        row = database.execute(f"SELECT {', '.join(_KNOWN)} FROM results WHERE key = ?", [key]).fetchone()
    if row is None:
        return None
    values = dict(zip(_KNOWN, row, strict=True))
    with damage(path, f"result {values['id']}"):
        check(values, RESULT)
        time_limit = options_of(values["options"]).get("time_limit")
        if not (time_limit is None or isinstance(time_limit, (int, float))):
            raise ValueError(f"options: time_limit is {time_limit!r:.40}")
    proven = values["solution_status"] == "optimal"
    done = values["status"] == "done"
    return Known(done, values["reason"], proven, values["termination_condition"], time_limit, values["gap"])
