"""Frames as Parquet files in folders that any tool reads: one file a snapshot, whole or not at all.

::

    data/
      stocks/
        month=2026-11/
          20261102T100000000000Z-5f0c9a1e.parquet
      product_coupons/ …
      user_coupons/ …
      .staging/                                       files being written; outside the folders readers look into

The name begins with the instant the snapshot was taken at, in UTC, so that names sort by time; the rest is random, so
that two processes never write the same file. Each file carries the entity's declared Arrow schema and, first, the
``taken_at`` it belongs to. There is no pandas metadata: it names list columns' dtypes in a way other readers trip over.
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

__all__ = ["Snapshot", "SnapshotStore"]

SCHEMA_VERSION: Final = 1
BEIJING: Final = ZoneInfo(TIMEZONE)

_OURS: Final = "wxcoupon."  # prefix of what is ours in a file's key-value metadata
_NAME: Final = re.compile(r"(\d{8}T\d{12}Z)-[0-9a-f]{8}\.parquet")
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
        The folder; it is made when the first snapshot is saved.

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
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"SnapshotStore({str(self.root)!r})"

    def save(
        self, entity: str, frame: pd.DataFrame, *, taken_at: dt.datetime | None = None, complete: bool = True
    ) -> Snapshot:
        """Store a frame as one snapshot: when this returns, it is on disk; if it does not, there is no trace of it.

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
        path = self.root / entity / f"month={instant:%Y-%m}" / f"{_stamp(instant)}-{secrets.token_hex(4)}.parquet"
        metadata = {
            "entity": entity,
            "schema_version": str(SCHEMA_VERSION),
            "taken_at": instant.isoformat(),
            "complete": str(complete).lower(),
        }
        described = stamped.replace_schema_metadata({_OURS + name: value for name, value in metadata.items()})
        try:
            _write_whole(described, path, self.root / ".staging")
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
            When a file cannot be read, or ``where`` is not a condition over the columns.
        ValidationError
            When there is no such entity or column, or ``as_of`` is naive.

        Notes
        -----
        A key counts as one also when a part of it is null. Of two snapshots of the same instant, the later
        ``fetched_at`` wins, then the file whose name sorts last.
        """
        schema = lookup(entity)
        wanted = list(columns) if columns is not None else list(schema.names)
        if unknown := [name for name in wanted if name not in schema.names]:
            raise ValidationError(f"{entity!r} has no column {', '.join(unknown)}: see describe({entity!r})")
        files = self._files(schema, until=None if as_of is None else _end(as_of, "as_of"))
        # A condition may name any column; without one, only what is asked for is read.
        read = schema.names if where is not None else list(dict.fromkeys([*schema.key, "fetched_at", *wanted]))
        key, select = (", ".join(f'"{name}"' for name in names) for names in (schema.key, wanted))
        condition = "" if where is None else f"WHERE ({where}\n)"
        query = f"""
            SELECT {select} FROM (
                SELECT * FROM rows QUALIFY 1 = row_number() OVER (
                    PARTITION BY {key} ORDER BY taken_at DESC, fetched_at DESC NULLS LAST, ordinal DESC
                )
            ) {condition} ORDER BY {key}
        """  # noqa: S608 (names come from the schema, and the condition is the caller's own SQL)
        table = _query(query, _numbered(_scan(schema, files, read)), files, where)
        return frame_of(table.cast(pa.schema([schema.arrow.field(name) for name in wanted])))

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
        """List the files of a span of time, in the order of their names, which is the order of time."""
        first = "" if since is None else _stamp(since)
        last = "Z" if until is None else _stamp(until)
        found = sorted((self.root / schema.name).glob("month=*/*.parquet"), key=lambda path: path.name)
        return [path for path in found if first <= _taken(path) <= last]


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


def _stamp(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%S%fZ")


def _taken(path: Path) -> str:
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise SnapshotError(f"{path} was not saved by this store: move it out, other readers take it for a snapshot")
    return named[1]


def _write_whole(table: pa.Table, path: Path, staging: Path) -> None:
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
    # The move itself is durable once the folder is; so are the folders above it that were new.
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        _flush(folder)


def _flush(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; its file systems journal the move
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
    """Number the rows as they stream by, so that of two equal ones the later wins."""
    source = scanner.to_reader()

    def batches() -> Iterator[pa.RecordBatch]:
        seen = 0
        for batch in source:
            ordinals = pa.array(range(seen, seen + len(batch)), pa.int64())
            seen += len(batch)
            yield pa.record_batch([*batch.columns, ordinals], schema=schema)

    schema = source.schema.append(pa.field("ordinal", pa.int64()))
    return pa.RecordBatchReader.from_batches(schema, batches())


def _query(query: str, rows: pa.RecordBatchReader, files: Sequence[Path], where: str | None) -> pa.Table:
    with duckdb.connect() as connection:
        # A day in a condition is a Beijing day, whatever zone this machine is in.
        connection.execute(f"SET TimeZone = '{TIMEZONE}'")
        connection.register("rows", rows)
        try:
            return connection.sql(query).to_arrow_table()
        except (duckdb.BinderException, duckdb.ParserException, duckdb.ConversionException) as error:
            raise SnapshotError(f"where={where!r} is not a condition over the columns: {error}") from error
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise _unreadable(files, error) from error


def _unreadable(files: Sequence[Path], error: Exception) -> SnapshotError:
    """Name the file at fault: the engines do not always."""
    for path in files:
        try:
            pq.read_table(path)
        except (pa.ArrowException, OSError) as fault:
            return SnapshotError(f"{path} cannot be read: {fault}; move it out of the store to go on without it")
    return SnapshotError(f"the snapshots cannot be read together: {error}")


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
