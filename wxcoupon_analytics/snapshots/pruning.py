"""Retention: history of long ago goes, and of it stay the rows that are still the latest of their key.

What stays of a month is written as one file before the month's others are deleted. It says which snapshots it has rows of
and that they are no longer whole, so that a reader who meets both takes the whole ones, and one who meets it alone knows
as of when the past can still be told: since the last snapshot that was looked at.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import pyarrow as pa

from wxcoupon_analytics.entities.schemas import TIME, Entity
from wxcoupon_analytics.snapshots.compaction import stacked, write_together
from wxcoupon_analytics.snapshots.contents import Contents, Placed
from wxcoupon_analytics.snapshots.current import COUPONS
from wxcoupon_analytics.snapshots.engines import spilling, table
from wxcoupon_analytics.snapshots.files import Footer, stored_schema
from wxcoupon_analytics.snapshots.latest import latest
from wxcoupon_analytics.snapshots.manifests import ALONE, ASKED, Manifests
from wxcoupon_analytics.snapshots.names import Name
from wxcoupon_analytics.snapshots.roots import Root
from wxcoupon_analytics.snapshots.rows import ROW, SNAPSHOT, Rows

_LISTING: Final = pa.schema([("taken_at", TIME), ("rows", pa.int64()), ("removed", pa.int64()), ("file", pa.string())])


class Pruning:
    """What there is to remove of an entity's history before an instant."""

    def __init__(self, root: Root, schema: Entity, footers: dict[str, Footer], before: dt.datetime) -> None:
        self._root, self._schema, self._footers = root, schema, footers
        self._contents = Contents(root, schema.name, footers)
        self._old = self._contents.snapshots(until=before - dt.timedelta(microseconds=1))
        rows = Rows(root, schema, self._old, ["taken_at", *schema.key, "fetched_at"])
        # Of each snapshot, the places of the rows that are the latest of their key.
        self._stay: dict[str, np.ndarray] = {placed.order: np.empty(0, "int64") for placed in self._old}
        with spilling() as connection, rows.pulled():
            connection.execute(f"CREATE TEMP TABLE old AS SELECT * FROM {table(connection, rows.reader())}")  # noqa: S608
            firsts = f'SELECT "{SNAPSHOT}" AS snapshot, min("{ROW}") AS first FROM old GROUP BY ALL'  # noqa: S608
            stay = latest(schema, "old", [SNAPSHOT, ROW])
            found = connection.sql(
                f"""
                SELECT snapshot, list("{ROW}" - first ORDER BY "{ROW}") AS places
                FROM ({stay}) JOIN ({firsts}) ON snapshot = "{SNAPSHOT}" GROUP BY snapshot
                """  # noqa: S608 (names are ours)
            ).to_arrow_table()
        for number, places in zip(found["snapshot"].to_pylist(), found["places"], strict=True):
            self._stay[self._old[number].order] = places.values.to_numpy()

    @property
    def listing(self) -> pa.Table:
        """The snapshots that lose rows."""
        rows = []
        for placed in self._losing():
            held = self._contents.held(placed)
            removed = held.rows - len(self._stay[placed.order])
            rows.append({"taken_at": held.taken_at, "rows": held.rows, "removed": removed, "file": placed.path})
        return pa.Table.from_pylist(rows, _LISTING)

    def carry_out(self) -> pa.Table:
        """Remove it; give the listing of what it was."""
        removed = self.listing
        losing = {placed.path for placed in self._losing()}
        if self._schema.name == COUPONS.name:
            self._keep_manifests()
        last = True
        # The last month first: with it comes the word that there was more, before anything is gone.
        for month, names in reversed(self._contents.months.items()):
            if touched := [name for name in names if name.path in losing]:
                self._rewrite(month, touched, last=last)
                last = False
        return removed

    def _losing(self) -> list[Placed]:
        return [p for p in self._old if self._contents.rows(p) > len(self._stay[p.order]) or self._is_empty(p)]

    def _is_empty(self, placed: Placed) -> bool:
        held = self._contents.held(placed)
        return not held.rows and not held.pruned

    def _rewrite(self, month: str, names: Sequence[Name], *, last: bool) -> None:
        """Write what stays of some of a month's files, and delete them; of the last month, at least that it was pruned."""
        paths = {name.path for name in names}
        here = [placed for placed in self._contents.placed(month) if placed.path in paths]
        kept = [placed for placed in here if len(self._stay.get(placed.order, _SOME))] or (here[-1:] if last else [])
        holds = []
        for placed in kept:
            held = self._contents.held(placed)
            rows = len(self._stay[placed.order]) if placed.order in self._stay else held.rows
            holds.append(dataclasses.replace(held, rows=rows, pruned=held.pruned or rows < held.rows))
        path = None
        if holds:
            path = write_together(
                self._root,
                f"{self._schema.name}/{month}",
                self._schema,
                holds,
                self._staying(kept),
                [self._contents.footer(name) for name in names],
                pruned_before=self._old[-1].order.partition("-")[0],
            )
        for gone in paths - {path}:
            self._root.delete(gone)

    def _staying(self, kept: Sequence[Placed]) -> Iterator[pa.RecordBatch]:
        """Give the rows that stay of old snapshots, and all rows of the others."""
        names = stored_schema(self._schema).names
        for placed in kept:
            stay, place = self._stay.get(placed.order), 0
            for batch in Rows(self._root, self._schema, [placed], names).batches():
                here = batch.select(names)
                if stay is not None:
                    begin, end = np.searchsorted(stay, [place, place + len(batch)])
                    here = here.take(pa.array(stay[begin:end] - place))
                place += len(batch)
                yield here

    def _keep_manifests(self) -> None:
        """Let the manifests of parts whose rows all go stand alone, or they would be taken for those of no part."""
        manifests = Manifests(self._root, self._contents, self._footers)
        gone = {order for order, stay in self._stay.items() if not len(stay)}
        placed = [one for one in manifests.placed() if one.order in gone]
        for month, of_month in groupby(placed, key=lambda one: PurePosixPath(one.path).parent.name):
            its = list(of_month)
            write_together(
                self._root,
                f"{ALONE}/{month}",
                ASKED,
                [manifests.held(one) for one in its],
                stacked(self._root, ASKED, its),
                manifests.footers(its),
            )


_SOME: Final = (True,)  # of what is not old, everything stays
