"""The files of a snapshot store: their names, and how one comes to be there whole or not at all.

A name begins with the instant the snapshot was taken at, in UTC, then says when it was saved, so that names sort by time
and of one instant by the order of saving; the rest is random, so that two processes never write the same file. Files of
earlier versions, which do not say when they were saved, count as saved before all others.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from wxcoupon_analytics.errors import SnapshotError

_NAME: Final = re.compile(r"(\d{8}T\d{12}Z)-(?:([0-9a-f]{16})-)?[0-9a-f]{8}\.parquet")


class Name(NamedTuple):
    """What a file's name says; files sort by it."""

    taken: str
    saved: str
    file: str


def stamp(instant: dt.datetime) -> str:
    """Write an instant so that texts sort as instants do."""
    return instant.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%S%fZ")


def named(path: Path) -> Name:
    """Read a file's name, refusing what no store gave."""
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise SnapshotError(f"{path} was not saved by this store: move it out, other readers take it for a snapshot")
    return Name(named[1], named[2] or "", path.name)


def new_path(folder: Path, instant: dt.datetime) -> Path:
    """Name a snapshot's file so that it sorts after every earlier save of its instant, whatever the clock has done."""
    same = [named(path).saved for path in folder.glob(f"{stamp(instant)}-*.parquet")]
    saved = max([time.time_ns(), *(int(one or "0", 16) + 1 for one in same)])
    return folder / f"{stamp(instant)}-{saved:016x}-{secrets.token_hex(4)}.parquet"


def write_whole(table: pa.Table, path: Path, staging: Path) -> None:
    """Write beside the store's folders, flush to the disk, and move into place."""
    for folder in (staging, path.parent):
        folder.mkdir(parents=True, exist_ok=True)
    staged = staging / path.name
    try:
        with staged.open("xb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    # The move itself is durable once the folder is; so are the folders above it that were new. The snapshot is saved
    # by now, and some file systems cannot flush a folder.
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        with suppress(OSError):
            _flush(folder)


def _flush(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; its file systems journal the move
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
