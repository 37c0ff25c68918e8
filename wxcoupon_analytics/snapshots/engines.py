"""DuckDB as the store uses it: within bounded memory, in Beijing's days, over the store's files wherever they are."""

from __future__ import annotations

import contextlib
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from wxcoupon_analytics.entities.schemas import TIMEZONE
from wxcoupon_analytics.errors import SnapshotError
from wxcoupon_analytics.snapshots.roots import OURS, Root

# A day is a Beijing day, whatever zone this machine is in.
BEIJING_DAYS: Final = f"SET TimeZone = '{TIMEZONE}'; SET enable_progress_bar = false"
TRY_AGAIN: Final = "try again; if it stays so, check the network, the memory, and that this process may read there"
_OUT_OF_REACH: Final = (duckdb.OperationalError, MemoryError, OSError)
# How DuckDB, Arrow and object stores say it; the errors' types do not. The number may also be a size, or part of a name.
_GONE: Final = re.compile(
    r"no files found|no such file|not exist|NoSuchKey|(?<![\w.-])404(?![\w-]|\.\d)|not found", re.IGNORECASE
)
# Arrow says what it cannot decode with the errors of what it cannot read.
_UNDECODABLE: Final = re.compile(r"deserialize|decompress|corrupt|unexpected end of stream|malformed", re.IGNORECASE)
_ARROW_IO: Final = "IOError: "  # as DuckDB repeats it from a stream
_REGISTRY: Final = re.compile(rf"{re.escape(OURS)}[/\\]registry[/\\]")
MEMORY_LIMIT: Final = "512MB"  # of what does not fit, the rest goes to the disk


@contextlib.contextmanager
def spilling() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an engine that keeps within bounded memory."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, duckdb.connect() as connection:
        connection.execute(
            f"{BEIJING_DAYS}; SET python_enable_replacements = false"
        )  # none of our variables is a table
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        connection.execute(f"SET temp_directory = '{folder}'; SET preserve_insertion_order = false")
        with failures_told():
            yield connection


@contextlib.contextmanager
def failures_told() -> Iterator[None]:
    """Tell a file that was replaced while it was read, which is to be read again, from a query that failed.

    Raises
    ------
    FileNotFoundError, SnapshotError
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if _GONE.search(str(error)):
            raise FileNotFoundError(str(error)) from error
        what = str(error).partition("\n\n")[0]  # without the query
        advice = ""
        if is_damage(error) and ".parquet" in what:
            advice = "; move the file it names out of the store to go on without it"
            if _REGISTRY.search(what):
                advice += ", and name the users who hold no coupon again"
        elif isinstance(error, _OUT_OF_REACH) or _ARROW_IO in what:
            advice = f"; {TRY_AGAIN}"
        raise SnapshotError(f"what is stored cannot be read together: {what}{advice}") from error


def is_damage(error: Exception) -> bool:
    """Tell a file whose content is wrong from one that cannot be had now: for permission, network or memory."""
    said = str(error)
    if isinstance(error, OSError) or _ARROW_IO in said:
        return _UNDECODABLE.search(said) is not None
    return isinstance(error, duckdb.InvalidInputException | pa.ArrowInvalid)


def literal(value: str) -> str:
    """Write a text as SQL."""
    return "'" + value.replace("'", "''") + "'"


def shut(connection: duckdb.DuckDBPyConnection, root: Root, paths: Sequence[str]) -> None:
    """Let what follows read nothing from outside but these files: it may be a condition that someone was handed."""
    if root.local is not None:
        listed = ", ".join(literal(root.full(path)) for path in paths)
        connection.execute(f"SET allowed_paths = [{listed}]")
    connection.execute("SET enable_external_access = false")


def parquet(connection: duckdb.DuckDBPyConnection, root: Root, paths: Sequence[str]) -> str:
    """Give files as something to select from, of which only what a query needs is read."""
    if root.local is not None:
        listed = ", ".join(literal(root.full(path)) for path in paths)
        return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    dataset = ds.dataset([root.full(path) for path in paths], filesystem=root.filesystem, format="parquet")
    return table(connection, dataset)


def table(connection: duckdb.DuckDBPyConnection, source: pa.Table | pa.RecordBatchReader | ds.Dataset) -> str:
    """Give Arrow data a name to select from."""
    name = f"arrow_{secrets.token_hex(8)}"
    connection.register(name, source)
    return name


def streamed(relation: duckdb.DuckDBPyRelation, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Give a query's rows as they come, in declared types."""
    for batch in pa.RecordBatchReader.from_stream(relation):
        yield pa.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
        )


def count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    """Count what there is to select from a source."""
    ((found,),) = connection.sql(f"SELECT count(*) FROM {source}").fetchall()  # noqa: S608 (sources are ours)
    return int(found)
