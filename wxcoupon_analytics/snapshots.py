"""Frames as Parquet files in folders that any tool reads: one file a snapshot, whole or not at all.

::

    data/
      stocks/
        month=2026-11/
          20261102T100000000000Z-18a3c5f20d4b9e10-5f0c9a1e.parquet
      product_coupons/ …
      user_coupons/ …
      .staging/                                       files being written; outside the folders readers look into

Each file carries the entity's declared Arrow schema and, first, the ``taken_at`` it belongs to. There is no pandas
metadata: it names list columns' dtypes in a way other readers trip over. Names are explained in ``snapshot_files``.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wxcoupon_analytics.entities.schemas import TIME, TIMEZONE, Entity, frame_of, lookup, to_table
from wxcoupon_analytics.errors import SnapshotError, ValidationError
from wxcoupon_analytics.snapshot_files import named, new_path, stamp, write_whole

__all__ = ["Snapshot", "SnapshotStore"]

SCHEMA_VERSION: Final = 1
BEIJING: Final = ZoneInfo(TIMEZONE)

_OURS: Final = "wxcoupon."  # prefix of what is ours in a file's key-value metadata
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

Instant = dt.datetime | dt.date | str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One saved snapshot.

    Attributes
    ----------
    entity : str
        What it is a snapshot of.
    path : Path
        Its file.
    rows : int
        How many rows it has.
    taken_at : datetime
        The instant it shows, in Beijing time.
    complete : bool
        Whether everything that was asked for is in it.
    """

    entity: str
    path: Path
    rows: int
    taken_at: dt.datetime
    complete: bool


class SnapshotStore:
    """Snapshots of entities below one folder.

    Parameters
    ----------
    root : str or PathLike
        The folder, on this machine; it is made when the first snapshot is saved.

    Raises
    ------
    ValidationError
        When ``root`` is a URI.

    Examples
    --------
    >>> import tempfile
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> store = SnapshotStore(tempfile.mkdtemp())
    >>> for day, sent in (("2026-11-01", 10), ("2026-11-02", 25)):
    ...     stock = {"stock_id": "1", "product_coupon_id": "7", "sent_count_info": {"total_count": sent}}
    ...     frame = flatten("stocks", stock, brand_id="120344", fetched_at=pd.Timestamp(f"{day}T10:00+08:00"))
    ...     snapshot = store.save("stocks", frame)
    >>> store.load("stocks", columns=["stock_id", "sent_count_info_total_count"]).values.tolist()
    [['1', 25]]
    >>> store.load("stocks", as_of="2026-11-01")["sent_count_info_total_count"].tolist()
    [10]
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        if "://" in os.fspath(root):
            raise ValidationError(
                f"root={root!r} is a URI, and snapshots go to local folders only, for now: give a path, and copy the"
                " folder to where it is needed"
            )
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"SnapshotStore({str(self.root)!r})"

    def save(
        self, entity: str, frame: pd.DataFrame, *, taken_at: dt.datetime | None = None, complete: bool = True
    ) -> Snapshot:
        """Store a frame as one snapshot, whole or not at all: when this raises a SnapshotError, there is none.

        When it returns, the file's content is on the disk; its place in the folder too, where the file system can flush
        folders.

        Parameters
        ----------
        entity : str
            ``product_coupons``, ``stocks`` or ``user_coupons``.
        frame : DataFrame
            A frame of that entity, with every column of :func:`~wxcoupon_analytics.entities.schemas.describe`.
        taken_at : datetime, optional
            The instant it shows, timezone-aware. Default: the latest ``fetched_at`` in the frame, or now if there is
            none.
        complete : bool, default True
            False says that the fetch was cut short or partly failed.

        Returns
        -------
        Snapshot
            Where it is and what it holds.

        Raises
        ------
        SnapshotError
            When the frame is not one of this entity, or the file cannot be written.
        ValidationError
            When there is no such entity, or ``taken_at`` is naive.
        """
        schema = lookup(entity)
        table = to_table(entity, frame)
        instant = _latest_fetch(table) if taken_at is None else _aware(taken_at, "taken_at")
        instant = instant.astimezone(BEIJING)
        stamped = table.add_column(0, "taken_at", pa.repeat(pa.scalar(instant, TIME), len(table)))
        path = new_path(self.root / entity / f"month={instant:%Y-%m}", instant)
        metadata = {
            "entity": entity,
            "schema_version": str(SCHEMA_VERSION),
            "taken_at": instant.isoformat(),
            "complete": str(complete).lower(),
        }
        described = stamped.replace_schema_metadata({_OURS + name: value for name, value in metadata.items()})
        try:
            write_whole(described, path, self.root / ".staging")
        except OSError as error:
            raise SnapshotError(f"cannot save {schema.name} to {path}: {error}") from error
        return Snapshot(entity, path, len(table), instant, complete)

    def load(
        self,
        entity: str,
        *,
        as_of: Instant | None = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> pd.DataFrame:
        """Read the latest row of every key, by ``taken_at``.

        Parameters
        ----------
        entity : str
            ``product_coupons``, ``stocks`` or ``user_coupons``.
        as_of : datetime, date or str, optional
            Ignore what was taken later. Aware datetimes and ISO texts with an offset are instants; a plain date (or
            ``"2026-11-02"``) is the end of that Beijing day.
        columns : list of str, optional
            Only these columns, in this order.
        where : str, optional
            A SQL condition over the columns, in DuckDB's dialect, put to the latest rows:
            ``"state = 'SENDING' AND sent_count_info_total_count > 100"``. A row whose latest state is another is not
            found by an older one.

        Returns
        -------
        DataFrame
            The entity's frame, see :func:`~wxcoupon_analytics.entities.schemas.describe`, sorted by its key; empty,
            with every column, when there is no snapshot.

        Raises
        ------
        SnapshotError
            When a file cannot be read, or ``where`` is not a condition over the entity's columns.
        ValidationError
            When there is no such entity or column, ``columns`` is empty or repeats one, or ``as_of`` is naive.

        Notes
        -----
        A row without one of its ids (a part of its key other than ``brand_id``) is nobody's double: it is given once for
        every snapshot that holds it. Of two snapshots of the same instant, the one saved later wins; within a snapshot,
        the later ``fetched_at``, then the later row.
        """
        schema = lookup(entity)
        wanted = _wanted(schema, columns)
        files = self._files(schema, until=None if as_of is None else _end(as_of, "as_of"))
        # A condition may name any column; without one, only what is asked for is read.
        read = schema.names if where is not None else tuple(dict.fromkeys([*schema.key, "fetched_at", *wanted]))
        latest = _latest(schema, _numbered(_scan(schema, files, read)), read, wanted, files=files, where=where)
        return frame_of(latest.cast(pa.schema([schema.arrow.field(name) for name in wanted])))

    def history(self, entity: str, *, since: Instant | None = None, until: Instant | None = None) -> pd.DataFrame:
        """Read the rows of all snapshots, one below the other.

        Parameters
        ----------
        entity : str
            ``product_coupons``, ``stocks`` or ``user_coupons``.
        since, until : datetime, date or str, optional
            Only snapshots taken between these instants, both included. A plain date is a whole Beijing day: ``since``
            its start, ``until`` its end.

        Returns
        -------
        DataFrame
            ``taken_at`` (datetime64[us, Asia/Shanghai]), then the entity's columns; sorted by ``taken_at``.

        Raises
        ------
        SnapshotError
            When a file cannot be read.
        ValidationError
            When there is no such entity, or an instant is naive.

        Examples
        --------
        >>> len(SnapshotStore("no/such/folder").history("stocks"))
        0
        """
        schema = lookup(entity)
        files = self._files(
            schema,
            since=None if since is None else _start(since, "since"),
            until=None if until is None else _end(until, "until"),
        )
        try:
            rows = _scan(schema, files, schema.names).to_table()
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(files, error) from error
        return frame_of(rows)

    def snapshots(self, entity: str) -> pd.DataFrame:
        """List an entity's snapshots, oldest first.

        Returns
        -------
        DataFrame
            ``taken_at`` (datetime64[us, Asia/Shanghai]), ``rows`` (Int64, count), ``complete`` (boolean),
            ``schema_version`` (Int64) and ``file`` (string, below the root).

        Raises
        ------
        SnapshotError
            When a file cannot be read.
        ValidationError
            When there is no such entity.

        Examples
        --------
        >>> SnapshotStore("no/such/folder").snapshots("stocks").columns.tolist()
        ['taken_at', 'rows', 'complete', 'schema_version', 'file']
        """
        found = [_described(path, self.root) for path in self._files(lookup(entity))]
        return frame_of(pa.Table.from_pylist(found, _LISTING))

    def _files(
        self, schema: Entity, *, since: dt.datetime | None = None, until: dt.datetime | None = None
    ) -> list[Path]:
        """List the files of a span of time, in the order of time and then of saving."""
        first = "" if since is None else stamp(since)
        last = "Z" if until is None else stamp(until)
        found = sorted((named(path), path) for path in (self.root / schema.name).glob("month=*/*.parquet"))
        return [path for name, path in found if first <= name.taken <= last]


_LISTING: Final = pa.schema(
    [
        ("taken_at", TIME),
        ("rows", pa.int64()),
        ("complete", pa.bool_()),
        ("schema_version", pa.int64()),
        ("file", pa.string()),
    ]
)


# --- files -----------------------------------------------------------------------------------------------------------


def _described(path: Path, root: Path) -> dict[str, Any]:
    try:
        footer = pq.read_metadata(path)
        said = {name.decode().removeprefix(_OURS): text.decode() for name, text in (footer.metadata or {}).items()}
        return {
            "taken_at": dt.datetime.fromisoformat(said["taken_at"]),
            "rows": footer.num_rows,
            "complete": said["complete"] == "true",
            "schema_version": int(said["schema_version"]),
            "file": path.relative_to(root).as_posix(),
        }
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise SnapshotError(
            f"{path} is not a snapshot that can be read: {error!r}; move it out of the store"
        ) from error


# --- rows ------------------------------------------------------------------------------------------------------------


def _scan(schema: Entity, files: Sequence[Path], names: Sequence[str]) -> ds.Scanner:
    """Read ``taken_at`` and columns of files, in order; a column that a file lacks is null, one too many is ignored."""
    stored = pa.schema([("taken_at", TIME), *schema.arrow])
    dataset = ds.dataset([str(path) for path in files], schema=stored, format="parquet")
    return dataset.scanner(columns=["taken_at", *names])


def _numbered(scanner: ds.Scanner) -> pa.RecordBatchReader:
    """Number the files and the rows as they stream by, so that the later wins."""
    schema = scanner.projected_schema
    for name in (_FILE, _ROW):
        schema = schema.append(pa.field(name, pa.int64()))

    def batches() -> Iterator[pa.RecordBatch]:
        rows, files, path = 0, 0, ""
        for tagged in scanner.scan_batches():
            if tagged.fragment.path != path:
                path, files = tagged.fragment.path, files + 1
            batch = tagged.record_batch
            numbers = pa.array([files] * len(batch), pa.int64()), pa.array(range(rows, rows + len(batch)), pa.int64())
            rows += len(batch)
            yield pa.record_batch([*batch.columns, *numbers], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


_FILE, _ROW = "#file", "#row"


def _wanted(schema: Entity, columns: Sequence[str] | None) -> list[str]:
    wanted = list(schema.names if columns is None else columns)
    if unknown := [str(name) for name in wanted if name not in schema.names]:
        raise ValidationError(f"{schema.name!r} has no column {', '.join(unknown)}: see describe({schema.name!r})")
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValidationError(f"columns={columns!r}: name at least one column, and none twice")
    return wanted


def _latest(
    schema: Entity,
    rows: pa.RecordBatchReader,
    read: Sequence[str],
    wanted: Sequence[str],
    *,
    files: Sequence[Path],
    where: str | None,
) -> pa.Table:
    """Take the last row of every key, and of these what meets a condition."""
    key, columns = (", ".join(f'"{name}"' for name in names) for names in (schema.key, read))
    source = f"rows_{secrets.token_hex(8)}"  # a name that no condition reads from: the rows stream by once
    query = f"""
        SELECT {columns} FROM {source}
        QUALIFY {" OR ".join(f'"{name}" IS NULL' for name in schema.ids)} OR 1 = row_number() OVER (
            PARTITION BY {key} ORDER BY taken_at DESC, "{_FILE}" DESC, fetched_at DESC NULLS LAST, "{_ROW}" DESC
        )
    """  # noqa: S608 (names come from the schema)
    with duckdb.connect() as connection:
        # A day in a condition is a Beijing day, whatever zone this machine is in. A condition reads nothing else: no
        # file, and none of our variables, which DuckDB would take for tables.
        connection.execute(f"SET TimeZone = '{TIMEZONE}'; SET python_enable_replacements = false")
        connection.execute("SET enable_external_access = false")
        connection.register(source, rows)
        latest = connection.sql(query)
        try:
            found = latest if where is None else latest.filter(duckdb.SQLExpression(where))
            ordered = found.order(key).select(*(duckdb.ColumnExpression(name) for name in wanted))
        except duckdb.Error as error:
            raise _no_condition(schema, where, error) from error
        try:
            return ordered.to_arrow_table()
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            # The engine's error does not say which it was: a condition that fails on a value, or a file.
            if where is not None and isinstance(error, duckdb.Error) and _damaged(files) is None:
                raise _no_condition(schema, where, error) from error
            raise _unreadable(files, error) from error


def _no_condition(schema: Entity, where: str | None, error: Exception) -> SnapshotError:
    return SnapshotError(f"where={where!r} is not a condition over the columns of {schema.name!r}: {error}")


def _unreadable(files: Sequence[Path], error: Exception) -> SnapshotError:
    """Name the file at fault: the engines do not always."""
    return _damaged(files) or SnapshotError(f"the snapshots cannot be read together: {error}")


def _damaged(files: Sequence[Path]) -> SnapshotError | None:
    for path in files:
        try:
            pq.read_table(path)
        except (pa.ArrowException, OSError) as fault:
            return SnapshotError(f"{path} cannot be read: {fault}; move it out of the store to go on without it")
    return None


# --- instants --------------------------------------------------------------------------------------------------------


def _latest_fetch(table: pa.Table) -> dt.datetime:
    latest: dt.datetime | None = pc.max(table["fetched_at"]).as_py()
    return latest or dt.datetime.now(BEIJING)


def _aware(instant: object, name: str) -> dt.datetime:
    if isinstance(instant, pd.Timestamp):
        instant = instant.floor("us").to_pydatetime()
    if not isinstance(instant, dt.datetime) or instant.tzinfo is None:  # so is pd.NaT
        raise ValidationError(
            f"{name}={instant!r} is no instant: give a datetime with a zone, datetime(…, tzinfo=ZoneInfo({TIMEZONE!r}))"
        )
    return instant


def _start(instant: Instant, name: str) -> dt.datetime:
    return _bound(instant, name, dt.time.min)


def _end(instant: Instant, name: str) -> dt.datetime:
    return _bound(instant, name, dt.time.max)


def _bound(instant: Instant, name: str, of_day: dt.time) -> dt.datetime:
    """Read an instant; a plain date is that moment of its Beijing day."""
    if isinstance(instant, str):
        try:
            instant = dt.date.fromisoformat(instant) if _DATE.fullmatch(instant) else dt.datetime.fromisoformat(instant)
        except ValueError as error:
            raise ValidationError(f"{name}={instant!r} is neither a date nor an ISO time with an offset") from error
    if isinstance(instant, dt.date) and not isinstance(instant, dt.datetime):
        return dt.datetime.combine(instant, of_day, BEIJING)
    return _aware(instant, name)
