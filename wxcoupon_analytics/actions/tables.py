"""The journal's tables, and how a file of an older version becomes one of this."""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x77786361  # "wxca": tells our file from anyone else's SQLite database

_ACTIONS = """
CREATE TABLE actions (
    brand_id      TEXT NOT NULL,
    request_no    TEXT NOT NULL,
    operation     TEXT NOT NULL,
    campaign      TEXT,
    copy          INTEGER,
    openid        TEXT,                       -- of intent, for looking up
    stock_id      TEXT,                       -- of intent, for looking up
    intent        TEXT NOT NULL,              -- path and body, canonical JSON
    status        TEXT NOT NULL CHECK (status IN ('unknown', 'done', 'failed', 'unsent')),
    lease         INTEGER,                    -- whose run is asking; of a lease that is no more: nobody's
    attempts      INTEGER NOT NULL,
    who           TEXT NOT NULL,
    started_at    TEXT NOT NULL,              -- UTC, RFC 3339; the first attempt
    touched_at    TEXT NOT NULL,              -- the last thing that happened to it
    ended_at      TEXT,
    answer        TEXT,
    error_code    TEXT,
    error_message TEXT,
    request_id    TEXT,
    PRIMARY KEY (brand_id, request_no)
) STRICT
"""
_ACTIONS_BY_USER = """
CREATE INDEX actions_by_user ON actions (brand_id, stock_id, openid) WHERE operation = 'send_coupon'
"""
# A run's claim to the writes it has begun. AUTOINCREMENT: the id of a lease that ended must never be another's.
_LEASES = """
CREATE TABLE leases (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    host       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    started    REAL NOT NULL,                 -- when that process did, seconds since 1970: process ids come round again
    beat_at    TEXT NOT NULL                  -- UTC, RFC 3339; the last sign of life
) STRICT
"""
_ASSIGNMENTS = """
CREATE TABLE assignments (
    brand_id    TEXT NOT NULL,
    campaign    TEXT NOT NULL,
    openid      TEXT NOT NULL,
    arm         TEXT NOT NULL CHECK (arm IN ('send', 'hold')),
    holdout     REAL NOT NULL,
    seed        INTEGER NOT NULL,
    assigned_at TEXT NOT NULL,                -- business time, RFC 3339
    PRIMARY KEY (brand_id, campaign, openid)
) STRICT, WITHOUT ROWID
"""


def _from_1_to_2(db: sqlite3.Connection) -> None:
    """Users and stocks can be looked up, runs hold leases, arms are assigned, and 'failed' means refused for good."""
    db.execute("ALTER TABLE actions RENAME TO actions_1")
    db.execute(_ACTIONS)
    kept = (
        "brand_id, request_no, operation, campaign, copy, intent, attempts, who, started_at, touched_at, ended_at, "
        "answer, error_code, error_message, request_id"
    )
    # Version 1 said 'failed' of what never left as well; that had no error_code, or was told to slow down.
    db.execute(
        f"""
        INSERT INTO actions ({kept}, openid, stock_id, status)
        SELECT {kept}, json_extract(intent, '$.path.openid'), coalesce(json_extract(intent, '$.body.stock_id'), json_extract(intent, '$.path.stock_id')),
            iif(status = 'failed' AND coalesce(error_code, 'RATELIMIT_EXCEEDED') = 'RATELIMIT_EXCEEDED', 'unsent', status)
        FROM actions_1 ORDER BY rowid
        """  # noqa: S608 - our own column names
    )
    db.execute("DROP TABLE actions_1")
    for statement in (_ACTIONS_BY_USER, _LEASES, _ASSIGNMENTS):
        db.execute(statement)


# _MIGRATIONS[n] makes version n + 2 of version n + 1.
_MIGRATIONS = (_from_1_to_2,)
VERSION = 1 + len(_MIGRATIONS)


def create(db: sqlite3.Connection) -> None:
    """Make the tables in a new file, within the caller's transaction."""
    for statement in (_ACTIONS, _ACTIONS_BY_USER, _LEASES, _ASSIGNMENTS):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring the tables of an older version up to date, within the caller's transaction: wholly or not at all."""
    for step in _MIGRATIONS[version - 1 :]:
        step(db)
    db.execute(f"PRAGMA user_version = {VERSION}")
