"""What the names of a store's files say.

A snapshot's name begins with the instant it was taken at, in UTC, then says when it was saved, so that names sort by time
and of one instant by the order of saving; the rest is random, so that two processes never write the same file. Files of
earlier versions, which do not say when they were saved, count as saved before all others.

A compacted file's name follows from the snapshots it holds: two processes that compact the same ones write the same file.
It carries the sum of their names' hashes, so that a listing tells which snapshots there are, whatever files they are in.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

_ORDER: Final = r"(\d{8}T\d{12}Z)-(?:([0-9a-f]{16})-)?([0-9a-f]{8})"
_SNAPSHOT: Final = re.compile(rf"{_ORDER}\.parquet")
_COMPACTED: Final = re.compile(rf"(compacted|base)-({_ORDER})-(\d+)-([0-9a-f]{{16}})\.parquet")
_MODULUS: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Name:
    """What a file's name says.

    Attributes
    ----------
    path : str
        The file, below the root.
    order : str
        Its snapshot's place among all; of several, the last one's. Texts sort as snapshots do.
    count : int
        How many snapshots it holds.
    digest : int
        The sum of their hashes.
    kind : str
        ``snapshot``, ``compacted``, or ``base``: what is left of the snapshots that were pruned.
    """

    path: str
    order: str
    count: int
    digest: int
    kind: str

    @property
    def month(self) -> str:
        """The folder it lies in."""
        return PurePosixPath(self.path).parent.name


def parse(path: str) -> Name | None:
    """Read a file's name; None when no store gave it."""
    file = PurePosixPath(path).name
    if found := _SNAPSHOT.fullmatch(file):
        order = _order(found[1], found[2], found[3])
        return Name(path, order, 1, hashed(order), "snapshot")
    if found := _COMPACTED.fullmatch(file):
        return Name(path, found[2], int(found[6]), int(found[7], 16), found[1])
    return None


def new_order(instant: dt.datetime, existing: Iterable[str], tail: str | None = None) -> str:
    """Name a snapshot so that it sorts after every earlier save of its instant, whatever the clock has done."""
    taken = stamp(instant)
    saved = (int(saved_when(order), 16) + 1 for order in existing if order.startswith(taken))
    return _order(taken, f"{max([time.time_ns(), *saved]):016x}", tail or secrets.token_hex(4))


def saved_when(order: str) -> str:
    """Give the part of a snapshot's name that says when it was saved; texts sort as these times do."""
    return order.split("-")[1]


def compacted_name(kind: str, orders: Iterable[str]) -> str:
    """Name the file that holds these snapshots."""
    held = sorted(orders)
    return f"{kind}-{held[-1]}-{len(held)}-{digest(held):016x}.parquet"


def digest(orders: Iterable[str]) -> int:
    """Hash a set of snapshots, so that the hashes of disjoint sets add up to their union's."""
    return added(hashed(order) for order in orders)


def added(digests: Iterable[int]) -> int:
    """Add the hashes of disjoint sets."""
    return sum(digests) % _MODULUS


def hashed(order: str) -> int:
    """Hash one snapshot's name."""
    return int.from_bytes(hashlib.blake2b(order.encode(), digest_size=8).digest())


def stamp(instant: dt.datetime) -> str:
    """Write an instant so that texts sort as instants do."""
    return instant.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%S%fZ")


def _order(taken: str, saved: str | None, tail: str) -> str:
    return f"{taken}-{saved or '0' * 16}-{tail}"
