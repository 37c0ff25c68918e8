"""The latest row of every key."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa

from wxcoupon_analytics.entities.schemas import Entity
from wxcoupon_analytics.errors import SnapshotError, ValidationError
from wxcoupon_analytics.snapshots.engines import spilling, table
from wxcoupon_analytics.snapshots.rows import ROW, SNAPSHOT, Rows

_ARROW_SORTS = 1 << 30  # bytes: of more, a column of texts might not fit Arrow's 32-bit offsets


def wanted_columns(schema: Entity, columns: Sequence[str] | None) -> list[str]:
    """Check the columns asked for; None: all of them."""
    wanted = list(schema.names if columns is None else columns)
    if unknown := [str(name) for name in wanted if name not in schema.names]:
        raise ValidationError(f"{schema.name!r} has no column {', '.join(unknown)}: see describe({schema.name!r})")
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValidationError(f"columns={columns!r}: name at least one column, and none twice")
    return wanted


def latest(schema: Entity, source: str, read: Sequence[str]) -> str:
    """Write the query for the last row of every key. A row without one of its ids is nobody's double."""
    return f"""
        SELECT {quoted(read)} FROM {source}
        QUALIFY {nameless(schema)} OR 1 = row_number() OVER (
            PARTITION BY {quoted(schema.key)}
            ORDER BY taken_at DESC, "{SNAPSHOT}" DESC, fetched_at DESC NULLS LAST, "{ROW}" DESC
        )
    """  # noqa: S608 (names come from the schema)


def latest_rows(schema: Entity, rows: Rows) -> pa.Table:
    """Give the last row of every key; which they are is told by a few columns, and the others follow."""
    everything = rows.table()
    narrow = everything.select([*schema.key, "taken_at", "fetched_at", SNAPSHOT, ROW])
    with spilling() as connection:
        found = connection.sql(latest(schema, table(connection, narrow), [ROW])).to_arrow_table()
    here = np.zeros(len(everything), bool)
    here[np.searchsorted(everything[ROW].to_numpy(), found[ROW].to_numpy())] = True
    return everything.filter(pa.array(here))


def sorted_by_key(schema: Entity, found: pa.Table, wanted: Sequence[str]) -> pa.Table:
    """Give columns of rows in memory, sorted by key."""
    if found.nbytes < _ARROW_SORTS:
        return found.sort_by([(name, "ascending") for name in schema.key]).select(wanted)
    with spilling() as connection:
        return collected(schema, connection.sql(f"FROM {table(connection, found)}"), wanted, where=None)


def quoted(names: Sequence[str], of: str = "") -> str:
    """Write column names as SQL."""
    return ", ".join(f'{of}"{name}"' for name in names)


def nameless(schema: Entity, of: str = "") -> str:
    """Write the condition that a row has not all its ids, and so is nobody's double."""
    return " OR ".join(f'{of}"{name}" IS NULL' for name in schema.ids)


def collected(
    schema: Entity,
    found: duckdb.DuckDBPyRelation,
    wanted: Sequence[str],
    *,
    where: str | None,
) -> pa.Table:
    """Run a query of an entity's rows, with a condition put to them, and give the columns wanted, sorted by key."""
    try:
        if where is not None:
            found = found.filter(duckdb.SQLExpression(where))
        ordered = found.order(quoted(schema.key)).select(*(duckdb.ColumnExpression(name) for name in wanted))
    except duckdb.Error as error:
        raise _no_condition(schema, where, error) from error
    try:
        found_rows = ordered.to_arrow_table()
    except duckdb.IOException:
        raise
    except duckdb.Error as error:
        if where is None:
            raise
        raise _no_condition(schema, where, error) from error  # one that fails on a value
    return found_rows.cast(pa.schema([schema.arrow.field(name) for name in wanted]))


def _no_condition(schema: Entity, where: str | None, error: Exception) -> SnapshotError:
    return SnapshotError(f"where={where!r} is not a condition over the columns of {schema.name!r}: {error}")
