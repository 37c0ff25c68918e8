"""Manifests: of each part of a fetch, who was asked for what, and when each answer was given.

A coupon that has not changed leaves no row in the history; that it was seen again is in the manifest. Users stand in it by
their numbers in the registry. A manifest of a part that changed something has the name of the part's rows and counts only
while those are there: they are put in place after it, so that a part is there whole or not at all. A manifest of a part
that changed nothing stands alone.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa

from wxcoupon_analytics.entities.schemas import TEXT, TIME, Column, Entity
from wxcoupon_analytics.snapshots.contents import Contents, Placed
from wxcoupon_analytics.snapshots.files import SCHEMA_VERSION, Footer, Held, metadata, stored_schema, write
from wxcoupon_analytics.snapshots.instants import month_of
from wxcoupon_analytics.snapshots.roots import OURS, Root

PAIRED: Final = f"{OURS}/manifests/user_coupons/paired"
ALONE: Final = f"{OURS}/manifests/user_coupons/alone"
ASKED: Final = Entity(
    "user_coupons manifest",
    (),
    (),
    (
        Column("segment", TEXT, "", "", "the user's segment in the registry"),
        Column("row", pa.int32(), "", "", "and the row in it"),
        Column("fetched_at", TIME, "", "", "when the user's answer was given"),
    ),
)


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of a part of a fetch.

    ``filters`` is None when rows were saved without a question: then only coupons that are there are covered, not absent
    ones. ``brand_id`` is None when no brand could be told.
    """

    fetch_id: str
    part_id: str
    appid: str | None
    brand_id: str | None
    filters: Mapping[str, str] | None
    started_at: str
    fetched_from: str
    fetched_to: str
    complete: bool
    asked: int
    rows: int
    new: int
    changed: int
    unchanged: int
    vanished: int

    @property
    def question(self) -> str:
        """Write down which coupons of a user an answer covers."""
        return json.dumps([self.brand_id, self.filters and dict(sorted(self.filters.items())), self.filters is None])


def part_id(fetch_id: str, asked: Iterable[str], filters: Mapping[str, str] | None) -> str:
    """Name a part by what was asked, so that the same part is known again."""
    text = json.dumps([fetch_id, sorted(asked), sorted((filters or {}).items())])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write_manifest(root: Root, order: str, taken_at: dt.datetime, part: Part, users: pa.Table, *, paired: bool) -> str:
    """Write a part's manifest, and give its path; ``users`` has the columns segment, row and fetched_at."""
    path = f"{PAIRED if paired else ALONE}/{month_of(taken_at)}/{order}.parquet"
    stored = stored_schema(ASKED)
    rows = users.add_column(0, "taken_at", pa.repeat(pa.scalar(taken_at, TIME), len(users))).cast(stored)
    said = metadata(
        entity=ASKED.name,
        schema_version=str(SCHEMA_VERSION),
        taken_at=taken_at.isoformat(),
        complete=str(part.complete).lower(),
        parts=json.dumps({order: asdict(part)}, ensure_ascii=False),
    )
    write(root, path, [rows], stored.with_metadata(said))
    return path


class Manifests:
    """The manifests at one moment, of parts that are wholly there.

    Parameters
    ----------
    rows : Contents
        The history, listed before: a part's manifest is there before its rows are.
    """

    def __init__(self, root: Root, rows: Contents, footers: dict[str, Footer]) -> None:
        self.alone = Contents(root, ALONE, footers)
        self._paired = Contents(root, PAIRED, footers)
        self._rows = rows

    def placed(self, *, until: dt.datetime | None = None, from_month: str = "") -> list[Placed]:
        """Find the manifests of parts taken up to an instant."""
        rows, alone, paired = (
            contents.snapshots(until=until, from_month=from_month)
            for contents in (self._rows, self.alone, self._paired)
        )
        with_rows = {placed.order for placed in rows}
        found = [*alone, *(placed for placed in paired if placed.order in with_rows)]
        return sorted(found, key=lambda placed: placed.order)

    def parts(self, placed: Sequence[Placed]) -> dict[str, Part]:
        """Read what the manifests say of their parts."""
        wanted = {one.order for one in placed}
        found: dict[str, Part] = {}
        for footer in self.footers(placed):
            parts: dict[str, Any] = json.loads(footer.said["parts"])
            found.update({order: Part(**said) for order, said in parts.items() if order in wanted})
        return found

    def footers(self, placed: Sequence[Placed]) -> list[Footer]:
        """Read what the files of manifests say of themselves."""
        paths = {one.path for one in placed}
        return [
            contents.footer(name)
            for contents in (self.alone, self._paired)
            for name in contents.names
            if name.path in paths
        ]

    def held(self, placed: Placed) -> Held:
        """Read what its file says of a manifest."""
        contents = self.alone if placed.path.startswith(ALONE) else self._paired
        return contents.held(placed)

    def same(self, tail: str) -> list[Placed]:
        """Find the manifests whose names end alike: those of one part among them."""
        return [placed for placed in self.placed() if placed.order.endswith(tail)]


_FETCHES: Final = pa.schema(
    [
        ("fetch_id", TEXT),
        ("appid", TEXT),
        ("filters", TEXT),
        *((name, TIME) for name in ("started_at", "fetched_from", "fetched_to")),
        *((name, pa.int64()) for name in ("parts", "asked", "rows", "new", "changed", "unchanged", "vanished")),
        ("complete", pa.bool_()),
    ]
)


def fetches(parts: Mapping[str, Part]) -> pa.Table:
    """Put the parts of each fetch together."""
    of_fetch: dict[str, list[Part]] = {}
    for order in sorted(parts):
        of_fetch.setdefault(parts[order].fetch_id, []).append(parts[order])
    rows = []
    for fetch_id, its in of_fetch.items():
        filters = its[0].filters
        rows.append(
            {
                "fetch_id": fetch_id,
                "appid": its[0].appid,
                "filters": None if filters is None else json.dumps(filters, ensure_ascii=False),
                "started_at": min(dt.datetime.fromisoformat(part.started_at) for part in its),
                "fetched_from": min(dt.datetime.fromisoformat(part.fetched_from) for part in its),
                "fetched_to": max(dt.datetime.fromisoformat(part.fetched_to) for part in its),
                "parts": len(its),
                **{name: sum(getattr(part, name) for part in its) for name in _COUNTS},
                "complete": any(part.complete for part in its),
            }
        )
    return pa.Table.from_pylist(rows, _FETCHES)


_COUNTS: Final = ("asked", "rows", "new", "changed", "unchanged", "vanished")
