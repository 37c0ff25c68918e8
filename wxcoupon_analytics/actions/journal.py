"""The journal of actions: what was meant, durable before it leaves, and what came of it.

SQLite in WAL mode with ``synchronous=FULL``, readable by its owner only. It is evidence, not a lock: what keeps a send from
happening twice is its request number.
"""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import platformdirs

from wxcoupon_analytics.actions.intent import Intent
from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.errors import ApiError, JournalError, WxCouponError

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x77786361  # "wxca": tells our file from anyone else's SQLite database
_LOCK_SECONDS = 30.0
_SCHEMA = """
CREATE TABLE actions (
    brand_id      TEXT NOT NULL,
    request_no    TEXT NOT NULL,
    operation     TEXT NOT NULL,
    campaign      TEXT,
    copy          INTEGER,
    intent        TEXT NOT NULL,              -- path and body, canonical JSON
    status        TEXT NOT NULL CHECK (status IN ('unknown', 'done', 'failed')),
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


def default_path(credentials: Credentials) -> Path:
    """One journal per user and brand, outside any working folder, so that two notebooks share it."""
    return platformdirs.user_state_path("wxcoupon_analytics") / f"journal-{credentials.brand_id}.sqlite3"


@dataclass(frozen=True, slots=True)
class Record:
    """What the journal knows of one request number."""

    intent: str
    status: str
    answer: dict[str, Any] | None
    attempts: int
    touched_at: datetime

    def open_to(self, intent: Intent) -> bool:
        """Whether this is the same write, its outcome unknown: it may be asked again."""
        return self.status == "unknown" and self.intent == intent.text


class Journal:
    """Actions of one brand, by request number.

    Parameters
    ----------
    path : path, optional
        None keeps the journal in memory: for the embedded brand, whose world ends with it too.
    brand_id : str

    Raises
    ------
    JournalError
        The file cannot be opened, is not a journal, or was written by a newer version. It is never overwritten.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, brand_id: str) -> None:
        self.path = Path(path) if path is not None else None
        self._brand_id = brand_id
        self._lock = threading.Lock()
        self._attempts: dict[str, int] = {}  # of each number begun here, which attempt it was
        with self._said():
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                # Made before SQLite does, so that it is never readable by others, not for a moment.
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
                self.path.chmod(0o600)
            self._db = sqlite3.connect(
                self.path or ":memory:", timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def look(self, request_no: str) -> Record | None:
        """Give what is known of a request number."""
        with self._said(), self._lock:
            return self._read(request_no)

    def begin(self, intent: Intent) -> Record | None:
        """Make an intent durable; what it will have come to is unknown until :meth:`end`.

        Returns what the journal knew of the number. If that settles the matter (it is done, or stands for something
        else whose outcome is open), nothing is written.
        """
        with self._said(), self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")  # two processes may have looked at the same moment
                earlier = self._read(intent.request_no)
                if earlier is None or earlier.status == "failed" or earlier.open_to(intent):
                    self._db.execute(
                        """
                        INSERT INTO actions (brand_id, request_no, operation, campaign, copy, intent, status, attempts, who,
                                             started_at, touched_at)
                        VALUES (?, ?, ?, ?, ?, ?, 'unknown', 1, ?, ?, ?)
                        ON CONFLICT DO UPDATE SET
                            touched_at = excluded.touched_at, intent = excluded.intent, campaign = excluded.campaign, copy = excluded.copy, status = 'unknown', attempts = attempts + 1,
                            ended_at = NULL, error_code = NULL, error_message = NULL, request_id = NULL
                        """,
                        (
                            self._brand_id,
                            intent.request_no,
                            intent.operation,
                            intent.campaign,
                            intent.copy,
                            intent.text,
                            _who(),
                            now := _now(),
                            now,
                        ),
                    )
                    self._attempts[intent.request_no] = earlier.attempts + 1 if earlier else 1
            finally:
                if self._db.in_transaction:
                    self._db.execute("COMMIT")
        return earlier

    def end(self, intent: Intent, outcome: dict[str, Any] | WxCouponError) -> None:
        """Record an answer, or the error that came instead.

        One that may hide a success leaves the status unknown, and so does a plain refusal while another process has begun
        the same write: what becomes of that one is not known here.
        """
        answer = error_code = error_message = request_id = None
        if isinstance(outcome, WxCouponError):
            status = "unknown" if outcome.maybe_executed else "failed"
            error_message = str(outcome)
            if isinstance(outcome, ApiError):
                error_code, error_message, request_id = outcome.code, outcome.message, outcome.request_id
        else:
            status, answer = "done", json.dumps(outcome, ensure_ascii=False)
        with self._said(), self._lock:
            self._db.execute(
                """
                UPDATE actions SET status = iif(?1 = 'failed' AND attempts <> ?2, 'unknown', ?1), ended_at = ?3,
                    touched_at = ?3, answer = ?4, error_code = ?5, error_message = ?6, request_id = ?7
                WHERE brand_id = ?8 AND request_no = ?9 AND intent = ?10 AND status <> 'done'
                """,
                (
                    status,
                    self._attempts.get(intent.request_no),
                    _now(),
                    answer,
                    error_code,
                    error_message,
                    request_id,
                    self._brand_id,
                    intent.request_no,
                    intent.text,
                ),
            )

    def frame(self) -> pd.DataFrame:
        """Give everything ever attempted, oldest first."""
        columns = "operation, campaign, copy, request_no, status, attempts, who, started_at, ended_at, intent, error_code, error_message, request_id"
        with self._said(), self._lock, closing(self._db.cursor()) as cursor:
            rows = cursor.execute(
                f"SELECT {columns} FROM actions WHERE brand_id = ? ORDER BY started_at, request_no",  # noqa: S608
                (self._brand_id,),
            ).fetchall()
        frame = pd.DataFrame(rows, columns=columns.split(", "))
        for name in frame.columns:
            if name in ("attempts", "copy"):
                frame[name] = frame[name].astype("Int64")
            elif name.endswith("_at"):
                times = pd.to_datetime(frame[name], utc=True, format="ISO8601").dt.tz_convert("Asia/Shanghai")
                frame[name] = times.astype(pd.DatetimeTZDtype("us", "Asia/Shanghai"))
            else:
                frame[name] = frame[name].astype("string")
        return frame

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _read(self, request_no: str) -> Record | None:
        row = self._db.execute(
            "SELECT intent, status, answer, attempts, touched_at FROM actions WHERE brand_id = ? AND request_no = ?",
            (self._brand_id, request_no),
        ).fetchone()
        if row is None:
            return None
        intent, status, answer, attempts, touched_at = row
        return Record(
            intent, status, json.loads(answer) if answer else None, attempts, datetime.fromisoformat(touched_at)
        )

    def _open(self) -> None:
        """Make the table in a new file; take no other file for a journal."""
        self._db.execute("PRAGMA synchronous = FULL")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            (ours,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (objects,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if objects == 0 and ours == 0:
                self._db.execute(_SCHEMA)
                self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif ours != _APPLICATION_ID:
                raise JournalError(
                    f"{self._where()} is some other SQLite database: name another file with connect(journal=…)"
                )
            elif version > SCHEMA_VERSION:
                raise JournalError(
                    f"{self._where()} was written by a newer wxcoupon-analytics: upgrade, or name another journal"
                )
        finally:
            if self._db.in_transaction:
                self._db.execute("COMMIT")
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                # Alone of all statements, this one does not wait for a lock.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _where(self) -> str:
        return f"the journal {self.path}" if self.path else "the journal in memory"

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turn SQLite's and the file system's errors into one that names the file and what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise JournalError(
                f"{self._where()} cannot be used now: {error}; try again, or pass connect(journal=…)"
            ) from error
        except sqlite3.ProgrammingError as error:
            raise JournalError(f"{self._where()} is closed with its client: connect again") from error
        except sqlite3.DatabaseError as error:
            raise JournalError(
                f"{self._where()} cannot be used: {error}. It is left as it is; move it away to start a new one, "
                "or pass connect(journal=…)"
            ) from error
        except OSError as error:
            raise JournalError(
                f"{self._where()} cannot be opened: {error.strerror}; pass connect(journal=…)"
            ) from error


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers run under users that have no name
        return f"uid {os.getuid()}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
