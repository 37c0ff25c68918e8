"""What a store says of an entity: its latest rows, its history, its list of snapshots."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa

from wxcoupon_analytics.entities.schemas import TIME, Entity
from wxcoupon_analytics.errors import SnapshotError
from wxcoupon_analytics.snapshots.checkpoints import sources
from wxcoupon_analytics.snapshots.contents import Contents
from wxcoupon_analytics.snapshots.current import COUPONS, Current
from wxcoupon_analytics.snapshots.engines import shut, spilling, table
from wxcoupon_analytics.snapshots.files import Footer, stored_schema
from wxcoupon_analytics.snapshots.instants import BEIJING
from wxcoupon_analytics.snapshots.latest import collected, latest, latest_rows, quoted, sorted_by_key
from wxcoupon_analytics.snapshots.manifests import ALONE, Manifests
from wxcoupon_analytics.snapshots.names import stamp
from wxcoupon_analytics.snapshots.registry import Registry
from wxcoupon_analytics.snapshots.roots import Root
from wxcoupon_analytics.snapshots.rows import ROW, SNAPSHOT, Rows
from wxcoupon_analytics.snapshots.scanning import (
    Engine,
    Wanted,
    current_relation,
    from_file,
    from_table,
    kept,
    name_of,
    table_relation,
)


class Reading:
    """Reads of a store, each of the files as they are then.

    Raises
    ------
    FileNotFoundError
        By any of them, when a file that was listed has been replaced by another: read again.
    """

    def __init__(self, root: Root, registry: Registry, footers: dict[str, Footer]) -> None:
        self._root = root
        self._registry = registry
        self._footers = footers

    def latest(
        self, schema: Entity, until: dt.datetime | None, read: Sequence[str], wanted: Sequence[str], where: str | None
    ) -> pa.Table:
        """Give the latest row of every key, with a condition put to them, sorted by key.

        ``read`` are the columns that takes, ``wanted`` those of the result.
        """
        if schema is COUPONS:
            return self._current_coupons(until, read, wanted, where)
        rows = self._sources(schema, Contents(self._root, schema.name, self._footers), until, read)
        found = latest_rows(schema, rows)
        if where is None:
            return sorted_by_key(schema, found, wanted)
        with spilling() as connection:
            relation = connection.sql(f"SELECT {quoted(read)} FROM {table(connection, found)}")  # noqa: S608
            shut(connection, self._root, [])
            return collected(schema, relation, wanted, where=where)

    def _sources(self, schema: Entity, contents: Contents, until: dt.datetime | None, read: Sequence[str]) -> Rows:
        _check_told(contents, until)
        placed = sources(self._root, schema.name, contents, until=until)
        return Rows(self._root, schema, placed, ["taken_at", *read])

    def _current_coupons(
        self, until: dt.datetime | None, read: Sequence[str], wanted: Sequence[str], where: str | None
    ) -> pa.Table:
        current = Current(self._root, self._footers, until=until)
        _check_told(current.rows, until)
        with spilling() as connection:
            current.lay_out(connection, self._registry)
            found = connection.sql(current.state(connection, read))
            if where is not None:
                shut(connection, self._root, [] if current.generation is None else [current.generation])
            try:
                return collected(COUPONS, found, wanted, where=where)
            except SnapshotError:
                current.check_it_is_there()  # or the condition is blamed for a file that was replaced
                raise

    def scan(
        self, wanted: Wanted, engine: Engine, until: dt.datetime | None, session: Any, fold: Callable[[], None]
    ) -> Any:
        """Give the latest rows as an engine's frame; ``fold`` brings the current state of user coupons up to date."""
        schema, columns = wanted.schema, list(wanted.columns)
        read = list(dict.fromkeys([*schema.key, "fetched_at", *columns]))
        if schema is COUPONS:
            current = Current(self._root, self._footers, until=until)
            _check_told(current.rows, until)
            if engine == "duckdb":
                return current_relation(current, self._registry, wanted)
            if until is None and not current.folded:
                fold()
                current = Current(self._root, self._footers)
            if current.generation is not None and current.folded:
                return from_file(self._root, current.generation, wanted, engine, session)
            contents = current.rows
        else:
            contents = Contents(self._root, schema.name, self._footers)
            if engine == "duckdb":
                rows = self._sources(schema, contents, until, read)
                return table_relation(rows, lambda source: latest(schema, source, columns))
        if engine == "pyspark":
            name = name_of(schema, contents.digest(), until)
            every = list(schema.names)
            path = kept(self._root, name, lambda: self.latest(schema, until, every, every, None))
            return from_file(self._root, path, wanted, engine, session)
        return from_table(self.latest(schema, until, read, columns, None), engine)

    def history(self, schema: Entity, since: dt.datetime | None, until: dt.datetime | None) -> pa.Table:
        """Give the rows of the snapshots of a span of time, in order."""
        contents = Contents(self._root, schema.name, self._footers)
        rows = Rows(self._root, schema, contents.snapshots(since=since, until=until), stored_schema(schema).names)
        found = rows.table()
        numbers = found[SNAPSHOT].to_numpy()
        if (numbers[1:] < numbers[:-1]).any():  # a snapshot may lie between two of one file
            found = found.sort_by([(SNAPSHOT, "ascending"), (ROW, "ascending")])
        return found.select(stored_schema(schema).names)

    def listing(self, schema: Entity) -> pa.Table:
        """List the snapshots that are whole, in order."""
        listed = [Contents(self._root, schema.name, self._footers)]
        if schema is COUPONS:  # what had not changed is a manifest alone
            listed.append(Manifests(self._root, listed[0], self._footers).alone)
        found = []
        for contents in listed:
            named = {name.path: name for name in contents.names}
            held = {(path, h.order): h for path in named for h in contents.footer(named[path]).holds}
            found += [(placed, held[placed.path, placed.order]) for placed in contents.snapshots()]
        found = [(placed, of) for placed, of in found if not of.pruned]
        found.sort(key=lambda one: one[0].order)
        rows = [
            {
                "taken_at": held.taken_at,
                "rows": 0 if placed.path.startswith(ALONE) else held.rows,  # a manifest's rows are users
                "complete": held.complete,
                "schema_version": held.schema_version,
                "file": placed.path,
            }
            for placed, held in found
        ]
        return pa.Table.from_pylist(rows, _LISTING)


_LISTING: Final = pa.schema(
    [
        ("taken_at", TIME),
        ("rows", pa.int64()),
        ("complete", pa.bool_()),
        ("schema_version", pa.int64()),
        ("file", pa.string()),
    ]
)


def _check_told(contents: Contents, until: dt.datetime | None) -> None:
    """Refuse to tell a state of which the history was pruned."""
    if until is not None and stamp(until) < contents.told_from:
        since = dt.datetime.strptime(contents.told_from, "%Y%m%dT%H%M%S%f%z").astimezone(BEIJING)
        raise SnapshotError(
            f"as_of={until.isoformat()}: the history before {since.isoformat()} was pruned, so what it was like then is no"
            " longer known"
        )
