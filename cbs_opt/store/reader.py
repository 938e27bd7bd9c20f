"""Reading a store, also while a batch writes to it."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

from cbs_opt.errors import StoreError
from cbs_opt.store.database import connect, require_file, troubles
from cbs_opt.store.rows import Block, Gap, Result, TracePoint, unpack_mask, unpack_weights
from cbs_opt.store.schema import check

BLOCK_COLUMNS = tuple(field.name for field in fields(Block))
ARRAYS = ("mask", "weights")
RESULT_COLUMNS = tuple(field.name for field in fields(Result) if field.name not in ARRAYS)
GAP_COLUMNS = tuple(field.name for field in fields(Gap))


class Store:
    """A store, opened for reading. Rows are read as they are asked for, so that memory does not grow with them.

    Use it in a ``with`` statement, or ``close`` it. One method's iterator sees the store as it was when it began.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        require_file(path)
        self.path = Path(path)
        self._database = connect(path, "ro")
        try:
            with troubles(path):
                self.facts = check(self._database, str(path))
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # ---------------------------------------------------------------- rows

    def blocks(self, *, manifest: str | None = None) -> Iterator[Block]:
        """All blocks, in the order of their ids; or those of one manifest."""
        where = _Where().equal("manifest", manifest)
        for row in self._rows(f"SELECT {', '.join(BLOCK_COLUMNS)} FROM blocks{where} ORDER BY id", where.values):
            yield self._block(row)

    def block(self, content: str) -> Block | None:
        """The block of this content; None where the store has none."""
        query = f"SELECT {', '.join(BLOCK_COLUMNS)} FROM blocks WHERE content = ?"
        for row in self._rows(query, [content]):
            return self._block(row)
        return None

    def results(
        self,
        *,
        status: str | None = None,
        method: str | None = None,
        asked: str | None = None,
        seed: int | None = None,
        block: int | None = None,
        arrays: bool = False,
    ) -> Iterator[Result]:
        """Results in the order of their ids, those that agree with what is given; masks and weights with ``arrays``."""
        where = _Where().equal("status", status).equal("method", method).equal("asked", asked)
        where.equal("seed", seed).equal("block", block)
        columns = (*RESULT_COLUMNS, *ARRAYS) if arrays else RESULT_COLUMNS
        for row in self._rows(f"SELECT {', '.join(columns)} FROM results{where} ORDER BY id", where.values):
            with self._damage(f"result {row[columns.index('id')]}"):
                found = _result(dict(zip(columns, row, strict=True)))
            yield found

    def gaps(self, *, method: str | None = None, asked: str | None = None, broken: bool | None = None) -> Iterator[Gap]:
        """Every answer against the best bound on its block, in the order of the results. Look at ``Gap.broken``."""
        where = _Where().equal("method", method).equal("asked", asked).equal("broken", broken)
        for row in self._rows(f"SELECT {', '.join(GAP_COLUMNS)} FROM gaps{where} ORDER BY result", where.values):
            values = dict(zip(GAP_COLUMNS, row, strict=True))
            yield Gap(**{**values, "broken": bool(values["broken"])})

    def traces(self, result: int | None = None) -> Iterator[tuple[int, TracePoint]]:
        """(result, point) in the order of time, of one result or of all: the searches' own words."""
        where = _Where().equal("result", result)
        query = f"SELECT result, seconds, incumbent, bound FROM traces{where} ORDER BY result, seconds"
        for number, seconds, incumbent, bound in self._rows(query, where.values):
            yield number, TracePoint(seconds, incumbent, bound)

    def environments(self) -> dict[int, dict[str, str]]:
        """By id, what the results were computed with."""
        rows = list(self._rows("SELECT id, content FROM environments", []))
        with self._damage("an environment"):
            return {number: json.loads(text) for number, text in rows}

    # ---------------------------------------------------------------- counts

    def counts(self) -> dict[str, int]:
        """Results by status: {'done': …, 'failed': …}."""
        found = {"done": 0, "failed": 0}
        found.update(self._rows("SELECT status, count(*) FROM results GROUP BY status", []))
        return found

    def methods(self) -> list[str]:
        """The methods there are results of, in the order they came."""
        return [name for (name,) in self._rows("SELECT method FROM results GROUP BY method ORDER BY min(id)", [])]

    def manifests(self) -> list[str]:
        """The manifests that blocks came by, as the batch named them."""
        query = "SELECT DISTINCT manifest FROM blocks WHERE manifest IS NOT NULL ORDER BY manifest"
        return [str(name) for (name,) in self._rows(query, [])]

    def asked(self) -> list[str]:
        """What was asked of the blocks, as 'sparsity 0.8'; in alphabetical order."""
        return [asked for (asked,) in self._rows("SELECT DISTINCT asked FROM results ORDER BY asked", [])]

    def _block(self, row: tuple[Any, ...]) -> Block:
        with self._damage(f"block {row[BLOCK_COLUMNS.index('id')]}"):
            values = dict(zip(BLOCK_COLUMNS, row, strict=True))
            _check(
                values,
                {"name": str, "file": str, "n": int, "tensor": str, "first": int, "manifest": str, "unit": float},
            )
            return Block(**values)

    @contextmanager
    def _damage(self, what: str) -> Iterator[None]:
        """Errors inside are those of a file that something else wrote to."""
        try:
            yield
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self.path}: {what} is damaged ({error}); start a new store") from None

    def _rows(self, query: str, values: list[Any]) -> Iterator[tuple[Any, ...]]:
        with troubles(self.path):
            cursor: sqlite3.Cursor = self._database.cursor()
            try:
                yield from cursor.execute(query, values)
            finally:
                cursor.close()


def open_store(path: str | os.PathLike[str]) -> Store:
    """The store at ``path``, for reading; a batch may write to it all the while.

    Raises
    ------
    StoreError
        No such file, not a store, or one of another version of the schema.
    """
    return Store(path)


class _Where:
    """Conditions of a query; None sets none."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.values: list[Any] = []

    def equal(self, column: str, value: Any) -> _Where:
        if value is not None:
            self._conditions.append(f"{column} = ?")
            self.values.append(value)
        return self

    def __str__(self) -> str:
        return " WHERE " + " AND ".join(self._conditions) if self._conditions else ""


_REALS = (
    "objective",
    "bound",
    "gap",
    "selection_objective",
    "selection_bound",
    "selection_gap",
    "round_off",
    "seconds",
)
_RESULT = {"method": str, "asked": str, "reason": str, "error": str, **dict.fromkeys(_REALS, float), "nodes": int}


def _check(values: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Raise unless each value is of its kind, or unknown: SQLite itself keeps no type, and has infinities."""
    for name, kind in kinds.items():
        value = values[name]
        infinite = isinstance(value, float) and not math.isfinite(value)
        if value is not None and (infinite or not isinstance(value, kind)):
            raise ValueError(f"{name} is {value!r:.40}")


def _result(values: dict[str, Any]) -> Result:
    _check(values, _RESULT)
    values["options"] = json.loads(values["options"])
    values["notes"] = tuple(json.loads(values["notes"]))
    if values.get("mask") is not None:
        values["mask"] = unpack_mask(values["mask"], values["n"])
        values["weights"] = unpack_weights(values["weights"])
    return Result(**values)
