"""The tables of a store, and the check whether a file is a store.

A store is an SQLite database, which ``sqlite3 results.sqlite`` or pandas can read directly. NULL means unknown, and no
column holds a NaN or an infinity. `docs/batch.md` describes every column.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from cbs_opt.errors import StoreError

SCHEMA_VERSION = 1

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE environments (id INTEGER PRIMARY KEY, content TEXT NOT NULL UNIQUE);

CREATE TABLE blocks (
    id INTEGER PRIMARY KEY,
    content TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    file TEXT NOT NULL,
    n INTEGER,
    tensor TEXT,
    first INTEGER,
    manifest TEXT,
    unit REAL
);

CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    block INTEGER NOT NULL REFERENCES blocks (id),
    method TEXT NOT NULL,
    asked TEXT NOT NULL,
    seed INTEGER,
    options TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    reason TEXT CHECK (reason IN ('bad input', 'time limit', 'memory limit', 'worker died', 'error')),
    error TEXT,
    solution_status TEXT,
    termination_condition TEXT,
    objective REAL,
    bound REAL,
    gap REAL,
    selection_objective REAL,
    selection_bound REAL,
    selection_gap REAL,
    round_off REAL,
    seconds REAL,
    nodes INTEGER,
    n INTEGER,
    pruned INTEGER,
    mask BLOB,
    weights BLOB,
    notes TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    finished TEXT NOT NULL,
    environment INTEGER REFERENCES environments (id),
    CHECK ((status = 'failed') = (reason IS NOT NULL)),
    CHECK (status = 'failed' OR (objective IS NOT NULL AND mask IS NOT NULL AND weights IS NOT NULL))
);
CREATE INDEX results_by_block ON results (block, asked);

CREATE TABLE traces (
    result INTEGER NOT NULL REFERENCES results (id),
    seconds REAL NOT NULL,
    incumbent REAL,
    bound REAL
);
CREATE INDEX traces_by_result ON traces (result);

CREATE VIEW gaps AS
WITH best AS (
    SELECT block, asked, max(bound) AS bound, max(selection_bound) AS selection_bound
    FROM results WHERE status = 'done' GROUP BY block, asked
)
SELECT
    r.id AS result, r.block AS block, b.name AS name, r.method AS method, r.asked AS asked, r.seed AS seed,
    r.objective AS objective, best.bound AS bound,
    CASE
        WHEN best.bound IS NULL THEN NULL
        WHEN r.objective <= best.bound THEN 0.0
        WHEN r.objective = 0 THEN CASE WHEN -best.bound <= r.round_off THEN 0.0 END
        ELSE (r.objective - best.bound) / abs(r.objective)
    END AS gap,
    coalesce(best.bound - r.objective > 1e-9 * abs(r.objective) + r.round_off, 0) AS broken,
    r.selection_objective AS selection_objective, best.selection_bound AS selection_bound
FROM results r
JOIN blocks b ON b.id = r.block
JOIN best ON best.block = r.block AND best.asked = r.asked
WHERE r.status = 'done';
"""


def create(database: sqlite3.Connection) -> None:
    """Make the tables of an empty database, in one transaction."""
    from cbs_opt.version import __version__

    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cbs_opt_version": __version__,
    }
    rows = ", ".join(f"('{key}', '{value}')" for key, value in facts.items())
    database.executescript(f"BEGIN IMMEDIATE;\n{TABLES}\nINSERT INTO meta VALUES {rows};\nCOMMIT;")


def is_empty(database: sqlite3.Connection) -> bool:
    """Whether the database has no tables or other objects."""
    return database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def check(database: sqlite3.Connection, path: str) -> dict[str, str]:
    """The facts in the table ``meta``, once the database is known to be a store with this version of the schema.

    Raises
    ------
    StoreError
        The database is no store, or has another version of the schema; the message gives both versions and says what to
        do.
    """
    from cbs_opt.version import __version__

    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"meta", "blocks", "results"} <= tables:
        raise StoreError(f"{path}: is an SQLite database, but no store of `cbs-opt batch`; name another file")
    facts = {str(key): str(value) for key, value in database.execute("SELECT key, value FROM meta")}
    found = facts.get("schema_version", "")
    if found == str(SCHEMA_VERSION):
        return facts
    if not (found.isdecimal() and len(found) < 10):
        raise StoreError(f"{path}: does not say which version of the store's schema it has; name another file")
    writer = facts.get("cbs_opt_version", "of unknown version")
    if int(found) < SCHEMA_VERSION:
        remedy = f"start a new store, or read this one with cbs-opt {writer}"
    else:
        remedy = "update cbs-opt, or name another file"
    raise StoreError(
        f"{path}: has version {found} of the store's schema, written by cbs-opt {writer}; this is cbs-opt "
        f"{__version__}, which has version {SCHEMA_VERSION}: {remedy}"
    )
