"""The registry of openids: everyone the store has ever been told of, each with a number that stays.

A user is a segment and a row in it; a manifest of millions of users is such numbers, and numbers that follow one another
cost next to nothing. Whoever finds users that are not in the registry writes a segment of his own, so two at once lose
nothing; a user whom both found has two numbers, and either is his. Segments that have become many are put together as they
are, numbers included: a row that is there twice for a while is the same row.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import secrets
from collections import defaultdict
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wxcoupon_analytics.entities.schemas import TEXT, TIME
from wxcoupon_analytics.snapshots.engines import parquet, spilling, table
from wxcoupon_analytics.snapshots.files import SCHEMA_VERSION, metadata, write
from wxcoupon_analytics.snapshots.names import stamp
from wxcoupon_analytics.snapshots.roots import OURS, Root

_FOLDER: Final = f"{OURS}/registry"
_SCHEMA: Final = pa.schema(
    [("segment", TEXT), ("row", pa.int32()), ("appid", TEXT), ("openid", TEXT), ("first_seen", TIME)],
    metadata=metadata(schema_version=str(SCHEMA_VERSION)),
)
USERS: Final = pa.schema([("appid", TEXT), ("openid", TEXT)])
_SEGMENT: Final = re.compile(rf"{re.escape(_FOLDER)}/(\d{{8}}T\d{{12}}Z-[0-9a-f]{{8}}|[0-9a-f]{{16}})\.parquet")
_MANY: Final = 16  # segments of about one size


class Registry:
    """The users of a store, as the store calls them."""

    def __init__(self, root: Root) -> None:
        self._root = root

    @property
    def empty(self) -> bool:
        """Whether nobody is registered."""
        return not self._segments()

    def relation(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Give the registry as something to select from."""
        if paths := self._segments():
            return parquet(connection, self._root, paths)
        return table(connection, _SCHEMA.empty_table())

    def add(self, connection: duckdb.DuckDBPyConnection, users: pa.Table, *, seen: dt.datetime) -> int:
        """Register those of these users who are not yet; give their number."""
        if not len(users):
            return 0
        new = connection.sql(
            f"""
            SELECT DISTINCT appid, openid FROM {table(connection, users)} AS u
            WHERE u.openid IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM {self.relation(connection)} AS r
                WHERE r.openid = u.openid AND r.appid IS NOT DISTINCT FROM u.appid
            )
            ORDER BY ALL
            """  # noqa: S608 (names are ours)
        ).to_arrow_table()
        if not len(new):
            return 0
        segment = f"{stamp(seen)}-{secrets.token_hex(4)}"
        rows = pa.Table.from_arrays(
            [
                pa.repeat(segment, len(new)),
                pa.array(np.arange(len(new), dtype="int32")),
                new["appid"].cast(TEXT),
                new["openid"].cast(TEXT),
                pa.repeat(pa.scalar(seen, TIME), len(new)),
            ],
            schema=_SCHEMA,
        )
        write(self._root, f"{_FOLDER}/{segment}.parquet", [rows], _SCHEMA)
        self._put_together()
        return len(new)

    def users(self, appid: str | None, *, also: pa.Table) -> pa.Table:
        """List everyone once, by when they were first seen."""
        with spilling() as connection:
            sources = f"SELECT appid, openid, first_seen FROM {self.relation(connection)}"  # noqa: S608 (names are ours)
            sources += f" UNION ALL SELECT appid, openid, NULL FROM {table(connection, also)} WHERE openid IS NOT NULL"  # noqa: S608
            found = connection.sql(
                f"""
                SELECT appid, openid, min(first_seen) AS first_seen FROM ({sources})
                WHERE $1 IS NULL OR appid = $1 GROUP BY ALL ORDER BY first_seen, appid, openid
                """,  # noqa: S608 (names are ours)
                params=[appid],
            ).to_arrow_table()
        return found.cast(pa.schema([*USERS, _SCHEMA.field("first_seen")]))

    def _segments(self) -> list[str]:
        """List the segments; whatever else lies there is not ours."""
        return [path for path in self._root.files(_FOLDER) if _SEGMENT.fullmatch(path)]

    def _put_together(self) -> None:
        """Make one of many segments of about one size, so that none is rewritten often."""
        alike: dict[int, list[str]] = defaultdict(list)
        for path in self._segments():
            alike[int(math.log(self._root.size(path) + 1, _MANY))].append(path)
        for paths in alike.values():
            if len(paths) >= _MANY:
                rows = (
                    batch
                    for path in paths
                    for batch in pq.ParquetFile(self._root.open(path)).iter_batches(batch_size=1 << 20)
                )
                write(self._root, f"{_FOLDER}/{secrets.token_hex(8)}.parquet", rows, _SCHEMA)
                for path in paths:
                    self._root.delete(path)
