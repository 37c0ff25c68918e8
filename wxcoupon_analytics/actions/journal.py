"""The journal of actions: what was meant, durable before it leaves, and what came of it.

SQLite in WAL mode with ``synchronous=FULL``, readable by its owner only. It is evidence, not a lock on the platform: what
keeps a send from happening twice is its request number. What it does keep apart are two runs on one machine: a write that
a living run has begun is that run's until its outcome is known.
"""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import platformdirs

from wxcoupon_analytics.actions import tables
from wxcoupon_analytics.actions.filesystems import network_file_system
from wxcoupon_analytics.actions.intent import Intent
from wxcoupon_analytics.actions.records import Claim, End, Record
from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.errors import ApiError, JournalError, WxCouponError
from wxcoupon_analytics.owners import Owner

_LOCK_SECONDS = 30.0
_BEAT = timedelta(seconds=5)
# SQLite takes at least 999 parameters in a statement.
_TOGETHER = 500


def default_path(credentials: Credentials) -> Path:
    """One journal per user and brand, outside any working folder, so that two notebooks share it."""
    return platformdirs.user_state_path("wxcoupon_analytics") / f"journal-{credentials.brand_id}.sqlite3"


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

    Warns
    -----
    UserWarning
        The file lies on a network file system, where SQLite cannot keep two hosts apart.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, brand_id: str) -> None:
        self.path = Path(path) if path is not None else None
        self._brand_id = brand_id
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._ended: set[int] = set()  # leases whose runs are over, while they could not be deleted
        self._who = _who()
        with self._said():
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                # Made before SQLite does, so that it is never readable by others, not for a moment.
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
                if kind := network_file_system(self.path):
                    warnings.warn(
                        f"{self._where()} is on a network file system ({kind}), where SQLite's log is safe for one machine "
                        "only: keep it on a local disk with connect(journal=…), or never send from two machines at once",
                        stacklevel=4,
                    )
            self._db = sqlite3.connect(
                self.path or ":memory:", timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
                if self.path is not None:  # only now is it known to be ours
                    for suffix in ("", "-wal", "-shm"):
                        with suppress(FileNotFoundError):
                            os.chmod(f"{self.path}{suffix}", 0o600)  # noqa: PTH101 - its neighbours have no path of their own
            except BaseException:
                self._db.close()
                raise

    def look(self, request_no: str) -> Record | None:
        """Give what is known of a request number."""
        with self.reading() as db:
            return self.records(db, [request_no]).get(request_no)

    def known(self, request_nos: Sequence[str]) -> dict[str, Record]:
        """Give what is known of each of many request numbers."""
        with self.reading() as db:
            return self.records(db, request_nos)

    def unsettled(self, operation: str) -> list[tuple[str, str]]:
        """Give request number and intent of the writes of one operation whose outcome is unknown, oldest first."""
        with self.reading() as db:
            return db.execute(
                "SELECT request_no, intent FROM actions WHERE brand_id = ? AND operation = ? AND status = 'unknown' "
                "ORDER BY started_at, rowid",
                (self._brand_id, operation),
            ).fetchall()

    @contextmanager
    def lease(self) -> Iterator[int]:
        """Hold a lease for one run: until it ends, or its process does, what it begins is its own."""
        here = Owner.here()
        with self.writing() as db:
            self._bury(db)
            row = db.execute(
                "INSERT INTO leases (host, pid, started, beat_at) VALUES (?, ?, ?, ?) RETURNING id",
                (here.host, here.pid, here.started, _now()),
            )
            ((lease,),) = row.fetchall()
        try:
            yield lease
        finally:
            # What the run came to must not be lost because this fails; the next run here, or the end of the process, makes
            # up for it.
            self._ended.add(lease)
            with suppress(JournalError), self.writing() as db:
                self._bury(db)

    def write(
        self, lease: int, *, ends: Sequence[End] = (), begins: Sequence[Intent] = (), retry_failed: bool = False
    ) -> list[Claim | Record]:
        """Record outcomes and make intents durable, all in one commit.

        Returns for each of ``begins`` the claim to it, or the record that is in the way: it is done; it was refused for
        good (without ``retry_failed``, and for the same body); it stands for something else; another run holds it; or its
        user is held out of its campaign.

        An error that may hide a success leaves the status unknown, and so does a plain refusal while another process has
        begun the same write: what becomes of that one is not known here.
        """
        now = _now()
        with self.writing() as db:
            db.execute(
                "UPDATE leases SET beat_at = ? WHERE id = ? AND beat_at < ?",
                (now, lease, _text_of(datetime.now(UTC) - _BEAT)),
            )
            db.executemany(_END, [self._end_row(end, now) for end in ends])
            known = self.records(db, [intent.request_no for intent in begins], mine=lease)
            held_out = self._held_out(db, begins)
            moment = datetime.fromisoformat(now)
            answers: list[Claim | Record] = []
            claimed: dict[str, Claim] = {}
            for intent in begins:
                text, before = intent.text, known.get(intent.request_no)
                if (twin := claimed.get(intent.request_no)) is not None:
                    before = Record(twin.text, "unknown", None, twin.attempts, moment, None, None, None, is_held=True)
                if (
                    held_out
                    and (intent.campaign, intent.path.get("openid")) in held_out
                    and (before is None or before.did_not_happen)
                ):
                    answers.append(Record(text, "held_out", None, 0, moment, None, None, None))
                elif before is None or before.is_open_to(text, retry_failed=retry_failed):
                    claim = Claim(intent, text, before.attempts + 1 if before else 1, before)
                    answers.append(claim)
                    claimed[intent.request_no] = claim
                else:
                    answers.append(before)
            claims = [answer for answer in answers if isinstance(answer, Claim)]
            db.executemany(_BEGIN, [self._begin_row(claim, lease, now) for claim in claims])
        return answers

    def frame(self) -> pd.DataFrame:
        """Give everything ever attempted, oldest first."""
        columns = (
            "operation, campaign, copy, request_no, status, attempts, who, started_at, ended_at, openid, stock_id, intent, "
            "error_code, error_message, request_id"
        )
        with self.reading() as db:
            rows = db.execute(
                f"SELECT {columns} FROM actions WHERE brand_id = ? ORDER BY started_at, rowid",  # noqa: S608
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

    @property
    def brand_id(self) -> str:
        """Whose actions these are."""
        return self._brand_id

    def close(self) -> None:
        """Close the file."""
        if os.getpid() == self._process:  # a fork that closed it would take its parent's locks away
            with self._lock:
                self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the database to read from, all of it as of one moment."""
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the database to write to: all of it in one durable commit, or none of it when an error ends the block."""
        with self._transaction("BEGIN IMMEDIATE") as db:  # two processes may have looked at the same moment
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process:
            raise JournalError(
                f"{self._where()} belongs to process {self._process}, which opened it, not to this fork of it: connect again here"
            )
        with self._said(), self._lock:
            try:
                self._db.execute(begin)
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def records(
        self, db: sqlite3.Connection, request_nos: Sequence[str], *, mine: int | None = None
    ) -> dict[str, Record]:
        """Read records within a transaction; what the lease ``mine`` holds is held, too."""
        known: dict[str, Record] = {}
        living: dict[int, bool] = {}
        for start in range(0, len(request_nos), _TOGETHER):
            part = request_nos[start : start + _TOGETHER]
            marks = ", ".join("?" * len(part))
            rows = db.execute(
                "SELECT request_no, intent, status, answer, attempts, touched_at, error_code, error_message, request_id, "  # noqa: S608
                f"lease FROM actions WHERE brand_id = ? AND request_no IN ({marks})",
                (self._brand_id, *part),
            )
            for no, intent, status, answer, attempts, touched_at, code, message, request_id, lease in rows:
                if lease is not None and lease not in living:
                    living[lease] = lease == mine or _lives(db, lease)
                known[no] = Record(
                    intent,
                    status,
                    json.loads(answer) if answer else None,
                    attempts,
                    datetime.fromisoformat(touched_at),
                    code,
                    message,
                    request_id,
                    is_held=status == "unknown" and lease is not None and living[lease],
                )
        return known

    def _held_out(self, db: sqlite3.Connection, intents: Sequence[Intent]) -> set[tuple[str | None, str | None]]:
        """Give campaign and openid of those sends whose user is in the arm that gets nothing."""
        found: set[tuple[str | None, str | None]] = set()
        users: dict[str, set[str]] = {}
        for intent in intents:
            if intent.operation == "send_coupon" and intent.campaign is not None:
                users.setdefault(intent.campaign, set()).add(intent.path["openid"])
        for campaign, openids in users.items():
            marks = ", ".join("?" * len(openids))
            rows = db.execute(
                f"SELECT openid FROM assignments WHERE brand_id = ? AND campaign = ? AND arm = 'hold' AND openid IN ({marks})",  # noqa: S608
                (self._brand_id, campaign, *openids),
            )
            found |= {(campaign, openid) for (openid,) in rows}
        return found

    def _bury(self, db: sqlite3.Connection) -> None:
        """Drop the leases of runs that are over, and of processes that are no more."""
        for (lease,) in db.execute("SELECT id FROM leases").fetchall():
            if lease in self._ended or not _lives(db, lease):
                db.execute("DELETE FROM leases WHERE id = ?", (lease,))

    def _begin_row(self, claim: Claim, lease: int, now: str) -> tuple[object, ...]:
        intent = claim.intent
        stock_id = intent.body.get("stock_id", intent.path.get("stock_id"))
        return (
            self._brand_id,
            intent.request_no,
            intent.operation,
            intent.campaign,
            intent.copy,
            intent.path.get("openid"),
            stock_id if isinstance(stock_id, str) else None,
            claim.text,
            lease,
            claim.attempts,
            self._who,
            now,
        )

    def _end_row(self, end: End, now: str) -> tuple[object, ...]:
        answer = error_code = error_message = None
        request_id = end.request_id
        if isinstance(end.outcome, WxCouponError):
            error_message = str(end.outcome)
            if isinstance(end.outcome, ApiError):
                error_code, error_message = end.outcome.code, end.outcome.message
                request_id = end.outcome.request_id
        else:
            answer = json.dumps(end.outcome, ensure_ascii=False)
        return (
            end.status,
            end.claim.attempts,
            now,
            answer,
            error_code,
            error_message,
            request_id,
            self._brand_id,
            end.claim.intent.request_no,
            end.claim.text,
        )

    def _open(self) -> None:
        """Make the tables in a new file, bring old ones up to date; take no other file for a journal."""
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA temp_store = MEMORY")  # audiences are looked up in temporary tables
        try:
            self._db.execute("BEGIN IMMEDIATE")
            (ours,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (objects,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if objects == 0 and ours == 0:
                tables.create(self._db)
            elif ours != tables.APPLICATION_ID:
                raise JournalError(
                    f"{self._where()} is some other SQLite database: name another file with connect(journal=…)"
                )
            elif version > tables.VERSION:
                raise JournalError(
                    f"{self._where()} was written by a newer wxcoupon-analytics: upgrade, or name another journal"
                )
            elif version < tables.VERSION:
                tables.migrate(self._db, version)
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
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


_BEGIN = """
INSERT INTO actions (brand_id, request_no, operation, campaign, copy, openid, stock_id, intent, status, lease, attempts, who,
                     started_at, touched_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'unknown', ?9, ?10, ?11, ?12, ?12)
ON CONFLICT DO UPDATE SET
    campaign = excluded.campaign, copy = excluded.copy, openid = excluded.openid, stock_id = excluded.stock_id,
    intent = excluded.intent, status = 'unknown', lease = excluded.lease, attempts = excluded.attempts,
    touched_at = excluded.touched_at, ended_at = NULL, error_code = NULL, error_message = NULL, request_id = NULL
"""
_END = """
UPDATE actions SET status = iif(?1 IN ('failed', 'unsent') AND attempts <> ?2, 'unknown', ?1),
    lease = iif(attempts = ?2, NULL, lease), ended_at = ?3, touched_at = ?3, answer = ?4, error_code = ?5,
    error_message = ?6, request_id = ?7
WHERE brand_id = ?8 AND request_no = ?9 AND intent = ?10 AND status <> 'done'
"""


def _lives(db: sqlite3.Connection, lease: int) -> bool:
    """Whether a lease is there and its process still at work."""
    row = db.execute("SELECT host, pid, started, beat_at FROM leases WHERE id = ?", (lease,)).fetchone()
    if row is None:
        return False
    host, pid, started, beat_at = row
    return Owner(host, pid, started).lives(datetime.fromisoformat(beat_at))


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers run under users that have no name
        return f"uid {os.getuid()}"


def _now() -> str:
    return _text_of(datetime.now(UTC))


def _text_of(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
