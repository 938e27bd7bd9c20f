"""Reading a store, also while a batch writes to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

from cbs_opt.store import schema
from cbs_opt.store.damage import BLOCK, GAP, RESULT, TRACE, check, environment_of, notes_of, options_of
from cbs_opt.store.database import connect, damage, require_file, troubles
from cbs_opt.store.rows import Block, Gap, Result, TracePoint, unpack_mask, unpack_weights

BLOCK_COLUMNS = tuple(field.name for field in fields(Block))
ARRAYS = ("mask", "weights")
RESULT_COLUMNS = tuple(field.name for field in fields(Result) if field.name not in ARRAYS)
GAP_COLUMNS = tuple(field.name for field in fields(Gap))


class Store:
    """A store of results, opened for reading by ``open_store``.

    Use it in a ``with`` statement, or ``close`` it. The methods return iterators that read row by row, so that memory
    does not grow with the store; each sees the store as it was when the iteration began.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        require_file(path)
        self.path = Path(path)
        self._database = connect(path, "ro")
        try:
            with troubles(path):
                self.facts = schema.check(self._database, str(path))
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
        """All blocks, or those of one manifest, in the order of their ids."""
        where = _Where().equal("manifest", manifest)
        for row in self._rows(f"SELECT {', '.join(BLOCK_COLUMNS)} FROM blocks{where} ORDER BY id", where.values):
            yield self._block(row)

    def block(self, content: str) -> Block | None:
        """The block with the digest ``content``; None where the store has none."""
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
        """The results that match all given values, in the order of their ids.

        Parameters
        ----------
        status, method, asked, seed, block
            Values of these fields of ``Result``; None matches all.
        arrays : bool
            Whether masks and weights are read, too; they are None otherwise.
        """
        where = _Where().equal("status", status).equal("method", method).equal("asked", asked)
        where.equal("seed", seed).equal("block", block)
        columns = (*RESULT_COLUMNS, *ARRAYS) if arrays else RESULT_COLUMNS
        for row in self._rows(f"SELECT {', '.join(columns)} FROM results{where} ORDER BY id", where.values):
            with damage(self.path, f"result {row[columns.index('id')]}"):
                found = _result(dict(zip(columns, row, strict=True)))
            yield found

    def gaps(self, *, method: str | None = None, asked: str | None = None, broken: bool | None = None) -> Iterator[Gap]:
        """Every answer with the best bound on its block by any method, in the order of the results.

        Parameters
        ----------
        method, asked
            Values of these fields of ``Gap``; None matches all.
        broken : bool or None
            Whether a bound lies above the objective by more than round-off, which is a bug; None matches all.
        """
        where = _Where().equal("method", method).equal("asked", asked).equal("broken", broken)
        for row in self._rows(f"SELECT {', '.join(GAP_COLUMNS)} FROM gaps{where} ORDER BY result", where.values):
            values = dict(zip(GAP_COLUMNS, row, strict=True))
            with damage(self.path, f"result {values['result']}, or another on its block,"):
                check(values, GAP)
            yield Gap(**{**values, "broken": bool(values["broken"])})

    def traces(self, result: int | None = None) -> Iterator[tuple[int, TracePoint]]:
        """Pairs (result id, point) of what searches reported, in the order of time; of one result or of all."""
        where = _Where().equal("result", result)
        query = f"SELECT result, seconds, incumbent, bound FROM traces{where} ORDER BY result, seconds"
        for number, seconds, incumbent, bound in self._rows(query, where.values):
            with damage(self.path, f"a trace of result {number}"):
                check({"result": number, "seconds": seconds, "incumbent": incumbent, "bound": bound}, TRACE)
            yield number, TracePoint(seconds, incumbent, bound)

    def environments(self) -> dict[int, dict[str, str]]:
        """The environments in which results were computed, by id: versions, machine and threads."""
        found = {}
        for number, text in self._rows("SELECT id, content FROM environments", []):
            with damage(self.path, f"environment {number}"):
                found[number] = environment_of(text)
        return found

    # ---------------------------------------------------------------- counts

    def counts(self) -> dict[str, int]:
        """The numbers of results by status: {'done': …, 'failed': …}."""
        found = {"done": 0, "failed": 0}
        found.update(self._rows("SELECT status, count(*) FROM results GROUP BY status", []))
        return found

    def methods(self) -> list[str]:
        """The methods of all results, in the order in which they first occur."""
        return [name for (name,) in self._rows("SELECT method FROM results GROUP BY method ORDER BY min(id)", [])]

    def manifests(self) -> list[str]:
        """The paths of all manifests that blocks came from, as they were given to the batch."""
        query = "SELECT DISTINCT manifest FROM blocks WHERE manifest IS NOT NULL ORDER BY manifest"
        return [str(name) for (name,) in self._rows(query, [])]

    def asked(self) -> list[str]:
        """All that was asked of blocks, for instance 'sparsity 0.8', in alphabetical order."""
        return [asked for (asked,) in self._rows("SELECT DISTINCT asked FROM results ORDER BY asked", [])]

    def _block(self, row: tuple[Any, ...]) -> Block:
        values = dict(zip(BLOCK_COLUMNS, row, strict=True))
        with damage(self.path, f"block {values['id']}"):
            check(values, BLOCK)
        return Block(**values)

    def _rows(self, query: str, values: list[Any]) -> Iterator[tuple[Any, ...]]:
        with troubles(self.path):
            cursor: sqlite3.Cursor = self._database.cursor()
            try:
                yield from cursor.execute(query, values)
            finally:
                with suppress(sqlite3.ProgrammingError):  # the store was closed before the iterator
                    cursor.close()


def open_store(path: str | os.PathLike[str]) -> Store:
    """Open the store at ``path`` for reading, which is possible while a batch writes to it.

    Raises
    ------
    StoreError
        There is no such file, it is no store, or it has another version of the schema.
    """
    return Store(path)


class _Where:
    """Collects the conditions of a query; a value of None adds no condition."""

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


def _result(values: dict[str, Any]) -> Result:
    check(values, RESULT)
    values["options"], values["notes"] = options_of(values["options"]), notes_of(values["notes"])
    if values.get("mask") is not None:
        n, mask, weights = values["n"], values["mask"], values["weights"]
        if n is None or weights is None or (len(mask), len(weights)) != ((n + 7) // 8, 8 * n):
            raise ValueError("mask and weights are not of n weights")
        values["mask"], values["weights"] = unpack_mask(mask, n), unpack_weights(weights)
    return Result(**values)
