"""The store as its users see it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from wxcoupon_analytics.entities.schemas import EVENTS, TIME, Entity, frame_of, lookup, to_table
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.snapshots.checkpoints import keep_checkpoints
from wxcoupon_analytics.snapshots.compaction import compact
from wxcoupon_analytics.snapshots.contents import Contents
from wxcoupon_analytics.snapshots.coupons import Merged, Question
from wxcoupon_analytics.snapshots.current import COUPONS
from wxcoupon_analytics.snapshots.files import SCHEMA_VERSION, metadata, stored_schema, write
from wxcoupon_analytics.snapshots.instants import BEIJING, Instant, aware, end, month_of, start
from wxcoupon_analytics.snapshots.latest import wanted_columns
from wxcoupon_analytics.snapshots.manifests import Manifests, fetches
from wxcoupon_analytics.snapshots.names import new_order
from wxcoupon_analytics.snapshots.opened import OpenStore
from wxcoupon_analytics.snapshots.pruning import Pruning
from wxcoupon_analytics.snapshots.registry import USERS
from wxcoupon_analytics.snapshots.scanning import Engine, Wanted, check_engine

_A_DAY: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One saved snapshot.

    Attributes
    ----------
    entity : str
        What it is a snapshot of.
    path : Path or str
        Its file; a text, without credentials, when the store lies behind a URI. Of user coupons of which nothing had
        changed, the manifest that says so.
    rows : int
        How many rows it has.
    taken_at : datetime
        The instant it shows, in Beijing time.
    complete : bool
        Whether everything that was asked for is in it.
    """

    entity: str
    path: Path | str
    rows: int
    taken_at: dt.datetime
    complete: bool


class SnapshotStore(OpenStore):
    """Snapshots of entities below one folder.

    Product coupons, stocks and events of user coupons are stored in full each time; of user coupons, what is new or
    changed, and who was asked. What finished months hold is put together without being asked.

    Parameters
    ----------
    root : str or PathLike
        A folder of this machine, which is made when the first snapshot is saved, or a URI that Arrow or fsspec opens:
        ``s3://bucket/prefix?endpoint_override=…&scheme=http``, ``gs://…``, ``abfs://…``, ``file:///…``, ``memory://…``.
    pseudonymize : bytes or str, optional
        A key of 16 bytes or more: openids, unionids and phone numbers are stored as keyed hashes (HMAC-SHA256), the same
        in every snapshot. :meth:`pseudonym` gives them; nobody gets from them back to the ids. To read, no key is needed.

    Raises
    ------
    ValidationError
        When the URI cannot be opened, or the key is too short.

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

    # saving ------------------------------------------------------------------------------------------------------------

    def save(
        self, entity: str, frame: pd.DataFrame, *, taken_at: dt.datetime | None = None, complete: bool = True
    ) -> Snapshot:
        """Store a frame as one snapshot, whole or not at all: when this raises a SnapshotError, there is none.

        When it returns, the file's content is on the disk; its place in the folder too, where the file system can flush
        folders.

        Parameters
        ----------
        entity : str
            ``product_coupons``, ``stocks``, ``user_coupons`` or ``user_coupon_events``.
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
        instant = _latest_fetch(table) if taken_at is None else aware(taken_at, "taken_at")
        instant = instant.astimezone(BEIJING)
        self.check_key()
        if schema is COUPONS:
            return self._save_coupons(table, instant, complete=complete)
        table = self._names.applied(table)
        contents = self._settled(lambda: Contents(self._root, entity, self._footers))
        order = new_order(instant, (name.order for name in contents.names))
        path = f"{entity}/{month_of(instant)}/{order}.parquet"
        said = metadata(
            entity=entity,
            schema_version=str(SCHEMA_VERSION),
            taken_at=instant.isoformat(),
            complete=str(complete).lower(),
        )
        stamped = table.add_column(0, "taken_at", pa.repeat(pa.scalar(instant, TIME), len(table)))
        write(self._root, path, [stamped], stored_schema(schema).with_metadata(said))
        if schema is EVENTS:
            self._register(table.select(USERS.names), instant)
        self._tidy(entity, lambda: self._tidy_snapshots(schema))
        return Snapshot(entity, self._path(path), len(table), instant, complete)

    def merge(
        self,
        coupons: pa.Table,
        *,
        appid: str,
        asked: Sequence[str] | Mapping[str, dt.datetime],
        filters: Mapping[str, str],
        fetch_id: str,
        started_at: dt.datetime,
        complete: bool,
        brand_id: str | None = None,
    ) -> Merged:
        """Store one part of a fetch of user coupons: what is new or changed in it, and who was asked.

        When it returns, the part is on the disk; when it is killed, the part is wholly there or not at all, and storing
        the same part again does no harm.

        Parameters
        ----------
        coupons : pyarrow.Table
            The answers, in the declared schema of ``user_coupons``; with openids as they were asked for.
        appid : str
            The app the openids belong to.
        asked : list of str, or mapping of str to datetime
            The users whose answers are wholly in ``coupons``, those without a coupon included; and, better, when each
            was answered, which the answer of one who holds nothing does not say.
        filters : mapping
            What was asked for of ``product_coupon_id``, ``stock_id`` and ``coupon_state``; empty: everything.
        fetch_id : str
            What tells this fetch from any other.
        started_at : datetime
            When the fetch began.
        complete : bool
            Whether with this part the fetch is whole: False for every part but the last.
        brand_id : str, optional
            The brand that was asked about; None: the one of the answers, or of all coupons known of these users.

        Returns
        -------
        Merged
            A known coupon that the question covered and the answers lack is in its ``vanished``. In the store its state
            is null from then on: it was asked for, and was not there.

        Raises
        ------
        SnapshotError
            The part cannot be stored, or not with this key.
        ValidationError
            ``filters`` has what no question can, or ``started_at`` is naive.

        Notes
        -----
        Answers are stored as they come, whatever their times. When an older answer that has a coupon is stored after a
        newer one that lacks it, nothing is left to say that it was missed: the coupon stands until its user is asked again.
        """
        if unknown := sorted(filters.keys() - _FILTERS):
            raise ValidationError(
                f"filters has {', '.join(unknown)}: a question can have {', '.join(sorted(_FILTERS))}"
            )
        began = aware(started_at, "started_at")
        self.check_key()
        answered: dict[str, dt.datetime | None] = dict.fromkeys(asked)
        if isinstance(asked, Mapping):
            answered.update((openid, aware(instant, "asked")) for openid, instant in asked.items())
        question = Question(fetch_id, appid, brand_id, answered, dict(filters), began, complete)
        self._register(USERS.empty_table(), began)
        merged = self._settled(lambda: self._coupons.merge(coupons, question))
        # At the end of a fetch its parts become one file: small ones would be footers more than rows.
        self._tidy(COUPONS.name, lambda: self._coupons.tidy(last=complete, loose=1))
        if merged.path is None:
            return merged
        return dataclasses.replace(merged, path=str(self.file_of(merged)))

    def file_of(self, merged: Merged) -> Path | str:
        """Give the file that has what was stored of a part, by now: small files are put together.

        When :meth:`prune` left no row of the part, it is the file it was stored as, which is not there any more.
        """
        return self._path(self._settled(lambda: self._coupons.where(merged.stored_as)))

    # reading -----------------------------------------------------------------------------------------------------------

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
            ``product_coupons``, ``stocks``, ``user_coupons`` or ``user_coupon_events``.
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
        wanted = wanted_columns(schema, columns)
        until = None if as_of is None else end(as_of, "as_of")
        # A condition may name any column; without one, only what is asked for is read.
        read = list(schema.names) if where is not None else list(dict.fromkeys([*schema.key, "fetched_at", *wanted]))
        return frame_of(self._settled(lambda: self._reading.latest(schema, until, read, wanted, where)))

    def scan(
        self,
        entity: str,
        *,
        engine: Engine = "duckdb",
        as_of: Instant | None = None,
        columns: Sequence[str] | None = None,
        session: Any = None,
    ) -> Any:
        """Give what :meth:`load` gives as a lazy frame, which reads only what is then asked of it.

        Every metric takes these frames.

        Parameters
        ----------
        entity : str
            ``product_coupons``, ``stocks``, ``user_coupons`` or ``user_coupon_events``.
        engine : {"duckdb", "polars", "pyarrow", "pyspark"}
            What works on it.
        as_of : datetime, date or str, optional
            Ignore what was taken later, see :meth:`load`.
        columns : list of str, optional
            Only these columns. The engines leave out by themselves what a query does not name, but for PyArrow, whose
            tables are in memory as a whole.
        session : SparkSession, optional
            For ``"pyspark"``; None: the active one. Its time zone is set to Asia/Shanghai.

        Returns
        -------
        duckdb.DuckDBPyRelation, polars.LazyFrame, pyarrow.Table or pyspark.sql.DataFrame
            The rows of :meth:`load`, in no order. Times are instants; DuckDB's (on a connection of the frame's own) and
            Spark's are shown in Beijing time.

        Raises
        ------
        ValidationError
            There is no such entity, column or engine, the engine is not installed, or it cannot read where the store lies.
        SnapshotError
            A file cannot be read.

        Notes
        -----
        Of user coupons the frame is a scan of one Parquet file, the current state as of this call. A later fetch replaces
        that file: a frame that is older than the last fetch may then find its file gone, and has to be scanned again.

        Examples
        --------
        >>> import tempfile
        >>> store = SnapshotStore(tempfile.mkdtemp())
        >>> store.scan("stocks", columns=["stock_id", "state"]).filter("state = 'SENDING'").fetchall()
        []
        """
        schema = lookup(entity)
        wanted = Wanted(schema, wanted_columns(schema, columns))
        until = None if as_of is None else end(as_of, "as_of")
        check_engine(engine, session)
        return self._settled(lambda: self._reading.scan(wanted, engine, until, session, self._fold))

    def history(self, entity: str, *, since: Instant | None = None, until: Instant | None = None) -> pd.DataFrame:
        """Read the rows of all snapshots, one below the other.

        Parameters
        ----------
        entity : str
            ``product_coupons``, ``stocks``, ``user_coupons`` or ``user_coupon_events``.
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
        first = None if since is None else start(since, "since")
        last = None if until is None else end(until, "until")
        return frame_of(self._settled(lambda: self._reading.history(schema, first, last)))

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
        schema = lookup(entity)
        return self._settled(lambda: frame_of(self._reading.listing(schema)))

    def fetches(self) -> pd.DataFrame:
        """List the fetches of user coupons, oldest first: who was asked for what, and whether that is all of it.

        Returns
        -------
        DataFrame
            One row a fetch. ``fetch_id`` (string), ``appid`` (string), ``filters`` (string, JSON; null when a frame was
            saved), ``started_at``, ``fetched_from``, ``fetched_to`` (datetime64[us, Asia/Shanghai]: when it began, and
            the earliest and latest answer), ``parts``, ``asked`` (Int64, users), ``rows``, ``new``, ``changed``,
            ``unchanged``, ``vanished`` (Int64, coupons), ``complete`` (boolean: whether everyone who was to be asked
            was).

        Raises
        ------
        SnapshotError
            When a manifest cannot be read.

        Examples
        --------
        >>> SnapshotStore("no/such/folder").fetches()[["asked", "complete"]].shape
        (0, 2)
        """

        def read() -> pa.Table:
            manifests = Manifests(self._root, Contents(self._root, COUPONS.name, self._footers), self._footers)
            return fetches(manifests.parts(manifests.placed()))

        return frame_of(self._settled(read))

    # keeping -----------------------------------------------------------------------------------------------------------

    def prune(
        self, entity: str, *, before: Instant | None = None, keep_days: int | None = None, dry_run: bool = True
    ) -> pd.DataFrame:
        """Remove an entity's history of long ago, and keep what :meth:`load` gives.

        Of the snapshots taken before an instant, only the rows stay that were the latest of their key at that instant;
        so :meth:`load`, also ``as_of`` any time since the last of them, gives what it gave. As of earlier times, it no
        longer can.

        Parameters
        ----------
        entity : str
            ``product_coupons``, ``stocks``, ``user_coupons`` or ``user_coupon_events``.
        before : datetime, date or str, optional
            That instant; a plain date is the start of that Beijing day.
        keep_days : int, optional
            Instead: the start of the Beijing day so many days ago.
        dry_run : bool, default True
            Only say what would be removed.

        Returns
        -------
        DataFrame
            One row a snapshot that loses rows: ``taken_at`` (datetime64[us, Asia/Shanghai]), ``rows`` (Int64, what it
            had), ``removed`` (Int64, how many of them are removed), ``file`` (string, below the root).

        Raises
        ------
        ValidationError
            When not just one of ``before`` and ``keep_days`` is given, or there is no such entity.
        SnapshotError
            When a file cannot be read or written. Run it again then: what was to stay is still there.

        Notes
        -----
        What killed writers left unfinished more than a day ago is removed too. Who was asked is kept: it says until when
        a coupon is known to have been so.

        Examples
        --------
        >>> SnapshotStore("no/such/folder").prune("stocks", keep_days=400)["removed"].sum()
        np.int64(0)
        """
        schema = lookup(entity)
        if (before is None) == (keep_days is None):
            raise ValidationError("give either before, an instant, or keep_days")
        if keep_days is not None:
            before = dt.datetime.now(BEIJING).date() - dt.timedelta(days=keep_days)
        assert before is not None
        instant = start(before, "before")
        if dry_run:
            return self._settled(lambda: frame_of(Pruning(self._root, schema, self._footers, instant).listing))
        self.check_key()
        removed = self._settled(lambda: Pruning(self._root, schema, self._footers, instant).carry_out())
        self._root.sweep(older_than=_A_DAY)
        if schema is COUPONS:
            self._fold()
        else:
            self._tidy(entity, lambda: self._tidy_snapshots(schema))
        return frame_of(removed)

    # how ---------------------------------------------------------------------------------------------------------------

    def _save_coupons(self, table: pa.Table, instant: dt.datetime, *, complete: bool) -> Snapshot:
        fetch_id = f"save-{secrets.token_hex(8)}"
        question = Question(fetch_id, None, None, {}, None, instant, complete)
        self._register(USERS.empty_table(), instant)
        merged = self._settled(lambda: self._coupons.merge(table, question, taken_at=instant))
        self._tidy(COUPONS.name, lambda: self._coupons.tidy(last=True))
        return Snapshot(COUPONS.name, self.file_of(merged), len(table), instant, complete)

    def _fold(self) -> None:
        self._tidy(COUPONS.name, self._coupons.fold)

    def _tidy_snapshots(self, schema: Entity) -> None:
        compact(self._root, schema.name, schema, self._footers)
        keep_checkpoints(self._root, schema, self._footers)


_FILTERS: Final = frozenset({"product_coupon_id", "stock_id", "coupon_state"})


def _latest_fetch(table: pa.Table) -> dt.datetime:
    found: dt.datetime | None = pc.max(table["fetched_at"]).as_py()
    return found or dt.datetime.now(BEIJING)
