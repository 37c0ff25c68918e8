"""The current state as a lazy frame of another engine, which then reads no more than it needs.

Of user coupons the current state is one Parquet file, and every engine reads it itself. Everything else is first worked
out: by DuckDB into a table of its own, which may go to the disk, for the others in memory, and for Spark, whose workers
may be other machines, into a file of the store.
"""

from __future__ import annotations

import atexit
import datetime as dt
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wxcoupon_analytics.entities.schemas import TIMEZONE, Entity
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.snapshots.current import Current
from wxcoupon_analytics.snapshots.engines import BEIJING_DAYS, failures_told, table
from wxcoupon_analytics.snapshots.registry import Registry
from wxcoupon_analytics.snapshots.roots import OURS, Root
from wxcoupon_analytics.snapshots.rows import Rows

Engine = Literal["duckdb", "polars", "pyarrow", "pyspark"]
ENGINES: Final = ("duckdb", "polars", "pyarrow", "pyspark")
SCANS: Final = f"{OURS}/scans"
# Hadoop's names for the file systems that Arrow calls otherwise; Spark has credentials of its own for them.
_HADOOP: Final = {"s3": "s3a", "gcs": "gs"}
_SPARK_READS: Final = frozenset({"s3a", "gs", "hdfs", "viewfs", "abfs", "abfss", "wasb", "wasbs", "file"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be scanned, in the columns of an entity."""

    schema: Entity
    columns: Sequence[str]

    @property
    def arrow(self) -> pa.Schema:
        """The columns as a plain Arrow schema."""
        return pa.schema([self.schema.arrow.field(name) for name in self.columns])


def check_engine(engine: str, session: object) -> None:
    """Refuse an engine that there is not, before anything is read.

    Raises
    ------
    ValidationError
        When it is none of the four or is not installed, or a session is given to another than Spark.
    """
    if engine not in ENGINES:
        raise ValidationError(f"engine={engine!r}: there are {', '.join(ENGINES)}")
    if session is not None and engine != "pyspark":
        raise ValidationError(f"session is Spark's: engine={engine!r} needs none")
    for name, install in (("polars", "polars"), ("pyspark", "'wxcoupon-analytics[spark]'")):
        if engine == name:
            try:
                __import__(name)
            except ImportError as error:
                raise ValidationError(f"engine={engine!r} is not installed: pip install {install}") from error


def own_connection() -> duckdb.DuckDBPyConnection:
    """Open a connection for a frame to live on; what does not fit its memory goes to a folder of this process."""
    connection = duckdb.connect()
    connection.execute(f"{BEIJING_DAYS}; SET temp_directory = '{_spill_folder()}'")
    if _CLOSES_EARLY:
        _kept_open.append(connection)
    return connection


def current_relation(current: Current, registry: Registry, wanted: Wanted) -> duckdb.DuckDBPyRelation:
    """Scan the current state of user coupons with DuckDB: the generation, and over it what it lacks."""
    connection = own_connection()
    with failures_told():
        current.lay_out(connection, registry)
        return connection.sql(current.state(connection, wanted.columns))


def table_relation(rows: Rows, query: Callable[[str], str]) -> duckdb.DuckDBPyRelation:
    """Keep a query's rows in a table, for they stream by once."""
    connection = own_connection()
    with failures_told(), rows.pulled():
        connection.execute(f"CREATE TEMP TABLE scanned AS {query(table(connection, rows.reader()))}")
    return connection.sql("SELECT * FROM scanned")


def from_file(root: Root, path: str, wanted: Wanted, engine: Engine, session: Any) -> Any:
    """Scan a Parquet file with an engine other than DuckDB."""
    if engine == "pyspark":
        return _spark(root, path, wanted, session)
    dataset = ds.dataset(root.full(path), filesystem=root.filesystem, format="parquet", schema=wanted.arrow)
    if engine == "pyarrow":
        return dataset.to_table()
    import polars as pl

    if root.local is None:
        return pl.scan_pyarrow_dataset(dataset)
    return pl.scan_parquet(root.full(path), glob=False).select(wanted.columns)


def from_table(rows: pa.Table, engine: Engine) -> Any:
    """Give rows in memory as a frame of an engine other than DuckDB and Spark."""
    if engine == "pyarrow":
        return rows
    import polars as pl

    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


def kept(root: Root, name: str, work_out: Callable[[], pa.Table]) -> str:
    """Put rows into a file of the store, where Spark's workers find it, unless it is there already."""
    path = f"{SCANS}/{name}.parquet"
    if path not in root.files(SCANS):
        rows = work_out()
        root.put(path, lambda sink: pq.write_table(rows, sink, compression="zstd"))
    return path


def _spark(root: Root, path: str, wanted: Wanted, session: Any) -> Any:
    from pyspark.sql import SparkSession

    session = session or SparkSession.getActiveSession()
    if session is None:
        raise ValidationError("there is no Spark session yet: begin one, and pass it as session=")
    # Spark cuts days and shows times in its session's zone; and its columns are instants, which it reads from Parquet.
    session.conf.set("spark.sql.session.timeZone", TIMEZONE)
    return session.read.parquet(_hadoop(root, path)).selectExpr(*(f"`{name}`" for name in wanted.columns))


def _hadoop(root: Root, path: str) -> str:
    if root.local is not None:
        return (root.local / path).absolute().as_uri()
    scheme, _, rest = root.describe(path).partition("://")
    scheme = _HADOOP.get(scheme, scheme)
    if scheme not in _SPARK_READS:
        raise ValidationError(
            f"Spark cannot read {root.shown}: it reads local folders, and {', '.join(sorted(_SPARK_READS))} URIs"
        )
    return f"{scheme}://{rest}"


# DuckDB 1 closes a connection with its Python object, though frames on it live on.
_CLOSES_EARLY: Final = int(duckdb.__version__.partition(".")[0]) < 2
_kept_open: list[duckdb.DuckDBPyConnection] = []
_folders: list[tempfile.TemporaryDirectory[str]] = []


def _spill_folder() -> str:
    if not _folders:
        _folders.append(tempfile.TemporaryDirectory(prefix="wxcoupon-", ignore_cleanup_errors=True))
        atexit.register(_folders[0].cleanup)
    return _folders[0].name


def name_of(schema: Entity, digest: int, until: dt.datetime | None) -> str:
    """Name what was worked out of certain snapshots, up to an instant."""
    upto = "now" if until is None else f"{until.timestamp():.6f}"
    return f"{schema.name}-{digest:016x}-{upto}"
