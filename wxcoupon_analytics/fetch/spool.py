"""What a long fetch was told and has not stored yet: durable page by page, so that a killed fetch asks nothing twice.

One SQLite file. A page is committed before it counts; with WAL and ``synchronous=NORMAL`` what is committed survives the
death of the process, and after a loss of power the file is whole and the last pages are asked for again. The file is
opened for one owner: the system takes its lock back when the owner dies, however it dies, so that there is no stale lock.

Answers gather in a *part* until it is worth storing. A part is closed by one number, and from then on it is the same
part however often the process that wanted to store it is killed.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import shutil
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from wxcoupon_analytics.errors import SnapshotError

_FORMAT = 1
_FILE = "spool.sqlite3"
_OWNER = "owner"
_CODEC = "zstd"  # a page repeats its stock and its product coupon once a coupon: a twentieth is left
_PAGES_AT_ONCE = 64
_USERS_AT_ONCE = 10_000
FOUND_AGAIN = 0  # the part of the answers about coupons that had vanished
_SCHEMA = """
CREATE TABLE fetch (
    fetch_id   TEXT NOT NULL,
    started_at TEXT NOT NULL,
    open_part  INTEGER NOT NULL,
    requests   INTEGER NOT NULL DEFAULT 0,
    coupons    INTEGER NOT NULL DEFAULT 0,
    new        INTEGER NOT NULL DEFAULT 0,
    changed    INTEGER NOT NULL DEFAULT 0,
    unchanged  INTEGER NOT NULL DEFAULT 0,
    vanished   INTEGER NOT NULL DEFAULT 0,
    found      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE pages (
    number     INTEGER PRIMARY KEY,
    who        TEXT NOT NULL,        -- the openid in the form the store keeps it
    part       INTEGER,              -- null while the user's list goes on
    coupons    INTEGER NOT NULL,
    next_token TEXT,
    fetched_at TEXT NOT NULL,
    size       INTEGER NOT NULL,
    checksum   INTEGER NOT NULL,
    content    BLOB NOT NULL         -- the verified bytes, compressed
) STRICT;
CREATE INDEX pages_of_user ON pages (who);
CREATE INDEX pages_of_part ON pages (part);
CREATE TABLE done (who TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE vanished (
    who TEXT NOT NULL, stock_id TEXT NOT NULL, coupon_code TEXT NOT NULL, product_coupon_id TEXT NOT NULL,
    PRIMARY KEY (who, stock_id, coupon_code)
) STRICT, WITHOUT ROWID;
"""
_COUNT_ANSWER = "UPDATE fetch SET requests = requests + 1"


class Kept(NamedTuple):
    """A page as it was answered, and whose it is."""

    who: str
    fetched_at: dt.datetime
    content: bytes


class Lost(NamedTuple):
    """A coupon that the store knows and an answer lacked."""

    stock_id: str
    product_coupon_id: str
    coupon_code: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How many answers were kept, and what has come of the parts stored so far."""

    requests: int = 0
    coupons: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    vanished: int = 0
    found: int = 0


class Spool:
    """The unfinished business of one fetch, in a folder of its own.

    Parameters
    ----------
    folder : Path
        On this machine; made when it is not there.
    now : datetime
        When this run begins.
    since : datetime or None
        A fetch begun earlier is not taken up again; None: none is.

    Attributes
    ----------
    fetch_id : str
    started_at : datetime
    resumed : bool
        Whether an earlier run of the fetch left something.
    outdated : datetime or None
        When the fetch had begun that was found too old, or was not wanted, and was dropped.
    users : int
        How many users are wholly answered.
    open_coupons, open_users : int
        What the open part holds.

    Raises
    ------
    SnapshotError
        Another process or thread is at this fetch, or the file cannot be used.
    """

    fetch_id: str
    started_at: dt.datetime
    resumed: bool
    users: int
    open_coupons: int
    open_users: int
    _open_part: int

    def __init__(self, folder: Path, *, now: dt.datetime, since: dt.datetime | None) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self.outdated: dt.datetime | None = None
        with self._said():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                self._start(now, since)
            except sqlite3.DatabaseError as error:
                if since is not None or isinstance(error, sqlite3.OperationalError):
                    raise
                for file in folder.glob(f"{_FILE}*"):  # unreadable, and not wanted
                    file.unlink()
                self._start(now, since)

    # what is left of an earlier run ----------------------------------------------------------------------------------

    def is_done(self, who: str) -> bool:
        """Whether a user is wholly answered."""
        return bool(self._rows("SELECT 1 FROM done WHERE who = ?", who))

    def count_done(self, users: Iterable[str]) -> int:
        """Count those of these users, however many, who are wholly answered; one who is there twice counts twice."""
        query = "SELECT count(*) FROM json_each(?) WHERE value IN (SELECT who FROM done)"
        rest, done = iter(users), 0
        while some := list(islice(rest, _USERS_AT_ONCE)):
            ((found,),) = self._rows(query, json.dumps(some))
            done += found
        return done

    def tokens(self, who: str) -> list[str]:
        """Give the page tokens that a half answered user's pages led to; the last one leads on."""
        if who not in self._half:
            return []
        return [token for (token,) in self._rows("SELECT next_token FROM pages WHERE who = ? ORDER BY number", who)]

    def waiting(self) -> set[str]:
        """Give the users whose pages are here."""
        return {who for (who,) in self._rows("SELECT DISTINCT who FROM pages")}

    def closed_parts(self) -> list[int]:
        """Give the parts that were closed and, as far as is known, not stored."""
        rows = self._rows("SELECT DISTINCT part FROM pages, fetch WHERE part > 0 AND part < open_part ORDER BY part")
        return [part for (part,) in rows]

    # what comes in ---------------------------------------------------------------------------------------------------

    def keep(self, who: str, content: bytes, *, fetched_at: dt.datetime, coupons: int, next_token: str | None) -> None:
        """Keep a page of a user's list; without a next one, the user is done."""
        row = _row(who, content, fetched_at, coupons, next_token)
        with self._change() as db:
            part = None if next_token else self._open_part
            _insert(db, part, row)
            db.execute(_COUNT_ANSWER)
            if next_token is None:
                db.execute("UPDATE pages SET part = ? WHERE who = ? AND part IS NULL", (part, who))
                db.execute("INSERT INTO done VALUES (?)", (who,))
                (coupons,) = db.execute("SELECT sum(coupons) FROM pages WHERE who = ?", (who,)).fetchone()
                # Within the lock: the part may be closed at any moment, by another thread.
                self.users, self.open_users = self.users + 1, self.open_users + 1
                self.open_coupons += coupons

    def coupons_of(self, who: str) -> int:
        """Count the coupons in a user's pages so far."""
        ((coupons,),) = self._rows("SELECT ifnull(sum(coupons), 0) FROM pages WHERE who = ?", who)
        return int(coupons)

    def forget(self, who: str) -> None:
        """Drop the pages of a user who is not done, to ask from the start."""
        with self._change() as db:
            db.execute("DELETE FROM pages WHERE who = ? AND part IS NULL", (who,))
        self._half.discard(who)

    def keep_found(self, who: str, lost: Lost, content: bytes | None, *, fetched_at: dt.datetime) -> None:
        """Keep what was answered about one coupon; None: there is no such coupon."""
        with self._change() as db:
            db.execute(
                "DELETE FROM vanished WHERE who = ? AND stock_id = ? AND coupon_code = ?",
                (who, lost.stock_id, lost.coupon_code),
            )
            db.execute(_COUNT_ANSWER)
            if content is not None:
                _insert(db, FOUND_AGAIN, _row(who, content, fetched_at, 1, None))

    # what goes out ---------------------------------------------------------------------------------------------------

    def close_part(self) -> int:
        """Close the open part and give its number; what comes from now on belongs to the next."""
        with self._change() as db:
            closed = self._open_part
            db.execute("UPDATE fetch SET open_part = ?", (closed + 1,))
            self._open_part, self.open_users, self.open_coupons = closed + 1, 0, 0
        return closed

    def users_of(self, part: int) -> dict[str, dt.datetime]:
        """Give the users of a part, in the order they were done, and when the first page of each was answered."""
        pages = self._rows("SELECT who, fetched_at FROM pages WHERE part = ? ORDER BY number DESC", part)
        return {who: dt.datetime.fromisoformat(first) for who, first in reversed(dict(pages).items())}

    def pages_of(self, part: int) -> Iterator[Kept]:
        """Read the pages of a part, in the order they came."""
        last = -1
        while rows := self._rows(
            "SELECT number, who, fetched_at, size, checksum, content FROM pages"
            " WHERE part = ? AND number > ? ORDER BY number LIMIT ?",
            part,
            last,
            _PAGES_AT_ONCE,
        ):
            for last, who, fetched_at, size, checksum, content in rows:  # noqa: B007 - the last number is read above
                if zlib.crc32(content) != checksum:
                    raise SnapshotError(self._broken("a page is not as it was kept"))
                whole = pa.decompress(content, decompressed_size=size, codec=_CODEC, asbytes=True)
                yield Kept(who, dt.datetime.fromisoformat(fetched_at), whole)

    def stored(self, part: int, tally: Tally, vanished: Iterable[tuple[str, Lost]] = ()) -> None:
        """Drop a part that is in the store, count what came of it, and note which coupons to look for."""
        with self._change() as db:
            rows = [(who, lost.stock_id, lost.coupon_code, lost.product_coupon_id) for who, lost in vanished]
            db.executemany("INSERT OR IGNORE INTO vanished VALUES (?, ?, ?, ?)", rows)
            db.execute("DELETE FROM pages WHERE part = ?", (part,))
            db.execute(
                "UPDATE fetch SET coupons = coupons + ?, new = new + ?, changed = changed + ?, unchanged = unchanged + ?,"
                " vanished = vanished + ?, found = found + ?",
                (tally.coupons, tally.new, tally.changed, tally.unchanged, tally.vanished, tally.found),
            )

    def lost_by(self) -> set[str]:
        """Give the users some of whose coupons are to be looked for, or were found and are not stored."""
        rows = self._rows("SELECT who FROM vanished UNION SELECT who FROM pages WHERE part = ?", FOUND_AGAIN)
        return {who for (who,) in rows}

    def lost(self, who: str) -> list[Lost]:
        """Give a user's coupons that are to be looked for."""
        rows = self._rows("SELECT stock_id, product_coupon_id, coupon_code FROM vanished WHERE who = ?", who)
        return [Lost(*row) for row in rows]

    def count_lost(self) -> int:
        """Count the coupons that are to be looked for."""
        ((coupons,),) = self._rows("SELECT count(*) FROM vanished")
        return int(coupons)

    def tally(self) -> Tally:
        """Give what has come of it so far."""
        (row,) = self._rows("SELECT requests, coupons, new, changed, unchanged, vanished, found FROM fetch")
        return Tally(*row)

    def close(self) -> None:
        """Leave the fetch for another run."""
        with self._lock:
            self._db.close()

    def discard(self) -> None:
        """End the fetch: nothing of it is left here."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # the file --------------------------------------------------------------------------------------------------------

    def _start(self, now: dt.datetime, since: dt.datetime | None) -> None:
        self._db = self._opened()
        try:
            self._take_up(now, since)
        except BaseException:
            self._db.close()
            raise

    def _opened(self) -> sqlite3.Connection:
        path = self.folder / _FILE
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("BEGIN EXCLUSIVE")
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        (self.folder / _OWNER).write_text(str(os.getpid()))
        return db

    def _take_up(self, now: dt.datetime, since: dt.datetime | None) -> None:
        """Go on with what an earlier run left, or begin."""
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        begun = (
            self._db.execute("SELECT fetch_id, started_at, open_part FROM fetch").fetchone()
            if version == _FORMAT
            else None
        )
        self.resumed = False
        if begun:
            started_at = dt.datetime.fromisoformat(begun[1])
            self.resumed = since is not None and since <= started_at <= now
            self.outdated = None if self.resumed else started_at
        if not self.resumed:
            begun = f"{now.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}", now.isoformat(), FOUND_AGAIN + 1
            self._begin(begun)
        assert begun is not None
        self.fetch_id, self.started_at, self._open_part = begun[0], dt.datetime.fromisoformat(begun[1]), begun[2]
        (self.users,) = self._db.execute("SELECT count(*) FROM done").fetchone()
        self._half = {who for (who,) in self._db.execute("SELECT DISTINCT who FROM pages WHERE part IS NULL")}
        self.open_users, self.open_coupons = self._db.execute(
            "SELECT count(DISTINCT who), ifnull(sum(coupons), 0) FROM pages WHERE part = ?", (self._open_part,)
        ).fetchone()

    def _begin(self, begun: tuple[str, str, int]) -> None:
        tables = [name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        script = "".join(f"DROP TABLE {name};" for name in tables) + _SCHEMA
        # One transaction: a file killed here is either as it was or begun.
        self._db.executescript(f"BEGIN; {script} PRAGMA user_version = {_FORMAT}; COMMIT")
        self._db.execute("INSERT INTO fetch (fetch_id, started_at, open_part) VALUES (?, ?, ?)", begun)

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._said(), self._lock:
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._said(), self._lock:
            self._db.execute("BEGIN")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite itself has rolled back when the disk is full
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turn SQLite's and the file system's errors into one that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                message = (
                    f"this same fetch is running already{self._owner()}: wait for it, or stop it; this call then goes on "
                    "from where it got"
                )
            elif isinstance(error, sqlite3.OperationalError):
                message = (
                    f"what was answered cannot be kept in {self.folder}: {error}. Make room or mend the folder, and run "
                    "the same call again: it goes on from what is kept"
                )
            else:
                message = self._broken(str(error))
            raise SnapshotError(message) from error
        except OSError as error:
            raise SnapshotError(f"what is answered cannot be kept in {self.folder}: {error.strerror}") from error

    def _broken(self, what: str) -> str:
        return (
            f"what an earlier run left in {self.folder} cannot be read: {what}. Begin anew with resume=False; what it had "
            "stored stays in the store"
        )

    def _owner(self) -> str:
        try:
            return f" (process {(self.folder / _OWNER).read_text()})"
        except OSError:
            return ""


def sweep(folder: Path, kept_for: dt.timedelta) -> None:
    """Delete what fetches that nobody took up again have left below a folder."""
    oldest = time.time() - kept_for.total_seconds()
    for owner in folder.glob(f"*/{_OWNER}"):
        with suppress(FileNotFoundError):  # a fetch that ends meanwhile takes its files away itself
            if max((file.stat().st_mtime for file in owner.parent.glob("*")), default=0.0) < oldest:
                shutil.rmtree(owner.parent, ignore_errors=True)


def _row(who: str, content: bytes, fetched_at: dt.datetime, coupons: int, next_token: str | None) -> tuple[Any, ...]:
    small = pa.compress(content, codec=_CODEC, asbytes=True)
    return who, coupons, next_token, fetched_at.isoformat(), len(content), zlib.crc32(small), small


def _insert(db: sqlite3.Connection, part: int | None, row: tuple[Any, ...]) -> None:
    db.execute(
        "INSERT INTO pages (who, coupons, next_token, fetched_at, size, checksum, content, part)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, part),
    )
