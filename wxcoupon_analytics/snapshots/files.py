"""The store's Parquet files: plain Arrow schemas, and in the footer what the file is.

There is no pandas metadata: it names list columns' dtypes in a way other readers trip over.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from wxcoupon_analytics.entities.casting import cast_exactly
from wxcoupon_analytics.entities.schemas import TIME, Entity
from wxcoupon_analytics.errors import SnapshotError
from wxcoupon_analytics.snapshots.engines import TRY_AGAIN, is_damage
from wxcoupon_analytics.snapshots.instants import BEIJING
from wxcoupon_analytics.snapshots.names import parse
from wxcoupon_analytics.snapshots.roots import Root

SCHEMA_VERSION: Final = 2
OURS: Final = "wxcoupon."  # prefix of what is ours in a file's key-value metadata
BATCH: Final = 65_536
_ROW_GROUP: Final = 1 << 17

# What brings the rows of an entity from one schema version to the next, by entity and the version they have: a column that
# was renamed, a type that changed. A column that is new, or no longer there, needs no step.
STEPS: Final[dict[tuple[str, int], Callable[[pa.Table], pa.Table]]] = {}


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot in a file.

    Attributes
    ----------
    order : str
        Its place among all snapshots.
    rows : int
        How many rows of the file are its, after those of the ones before.
    pruned : bool
        Whether it once had more.
    """

    order: str
    taken_at: dt.datetime
    complete: bool
    rows: int
    schema_version: int
    pruned: bool = False


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file says of itself."""

    said: Mapping[str, str]
    schema_version: int
    rows: int
    holds: tuple[Held, ...]


def metadata(**said: str) -> dict[str, str]:
    """Put what is ours under our prefix."""
    return {OURS + name: value for name, value in said.items()}


def describe_held(holds: Iterable[Held]) -> str:
    """Write down which snapshots a compacted file holds."""
    return json.dumps(
        [[h.order, h.taken_at.isoformat(), h.complete, h.rows, h.schema_version, h.pruned] for h in holds]
    )


def stored_schema(schema: Entity) -> pa.Schema:
    """Give the schema of an entity's files: ``taken_at`` before the frame's columns."""
    return pa.schema([("taken_at", TIME), *schema.arrow])


def write(root: Root, path: str, batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema) -> int:
    """Put a Parquet file there, whole or not at all; give its number of rows."""
    rows = 0
    gone: FileNotFoundError | None = None

    # Numbers that follow one another: of a run of them, only the step is kept.
    steps = {field.name: "DELTA_BINARY_PACKED" for field in schema if field.type == pa.int32()}
    dictionary = [name for name in schema.names if name not in steps] if steps else True

    def fill(sink: Any) -> None:
        nonlocal rows, gone
        options = {"compression": "zstd", "use_dictionary": dictionary, "column_encoding": steps or None}
        with pq.ParquetWriter(sink, schema, **options) as writer:
            try:
                for table in _row_groups(batches, schema):
                    rows += len(table)
                    writer.write_table(table)
            except FileNotFoundError as error:
                gone = error
                raise

    try:
        root.put(path, fill)
    except OSError as error:
        if gone is not None:  # it is one of those that are read, not this one
            raise
        what = (schema.metadata or {}).get(f"{OURS}entity".encode(), b"the store's own records").decode()
        raise SnapshotError(f"cannot save {what} to {root.describe(path)}: {error}") from error
    return rows


def _row_groups(batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Gather batches, which engines give as small as they like, into pieces that make good row groups."""
    waiting: list[pa.Table] = []
    for batch in batches:
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        waiting.append(table.replace_schema_metadata(schema.metadata))
        if sum(map(len, waiting)) >= _ROW_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def footer(root: Root, path: str) -> Footer:
    """Read what a file says of itself.

    Raises
    ------
    SnapshotError
        When it is none of ours, damaged, or of a newer version.
    """
    with _open(root, path) as file:
        return _footer(root, path, file)


def batches(root: Root, path: str, schema: Entity, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read columns of a file in the declared types; what it lacks is null, and an older version is read forward.

    Raises
    ------
    SnapshotError
        When the file is damaged, of a newer version, or holds what does not fit.
    """
    stored = stored_schema(schema)
    wanted = pa.schema([stored.field(name) for name in columns])
    with _open(root, path) as file:
        version = _footer(root, path, file).schema_version
        steps = [STEPS[schema.name, v] for v in range(version, SCHEMA_VERSION) if (schema.name, v) in STEPS]
        try:
            if steps:
                whole = file.read()
                for step in steps:
                    whole = step(whole)
                found: Iterator[pa.RecordBatch] = iter(whole.to_batches())
            else:
                known = set(file.schema_arrow.names)
                there = [name for name in columns if name in known]
                found = file.iter_batches(batch_size=BATCH, columns=there)
            for batch in found:
                yield _conform(batch, wanted)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise _unread(root, path, error) from error


def _open(root: Root, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(root.open(path), pre_buffer=True)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise _unread(root, path, error) from error


def _footer(root: Root, path: str, file: pq.ParquetFile) -> Footer:
    said = {k.decode(): v.decode() for k, v in (file.metadata.metadata or {}).items() if k.startswith(OURS.encode())}
    said = {name.removeprefix(OURS): value for name, value in said.items()}
    rows = file.metadata.num_rows
    try:
        version = int(said["schema_version"])
        if version > SCHEMA_VERSION:
            raise SnapshotError(
                f"{root.describe(path)} was written by a newer version of this package (schema version {version}, this one"
                f" knows {SCHEMA_VERSION}): upgrade it, pip install -U wxcoupon-analytics"
            )
        if "holds" in said:
            holds = tuple(
                Held(order, dt.datetime.fromisoformat(taken), *of_it)
                for order, taken, *of_it in json.loads(said["holds"])
            )
        elif "taken_at" in said and (name := parse(path)):
            taken_at = dt.datetime.fromisoformat(said["taken_at"]).astimezone(BEIJING)
            holds = (Held(name.order, taken_at, said["complete"] == "true", rows, version),)
        else:
            holds = ()
    except (KeyError, ValueError, TypeError) as error:
        raise _unread(root, path, error) from error
    return Footer(said, version, rows, holds)


def _conform(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field in wanted:
        index = batch.schema.get_field_index(field.name)
        columns.append(pa.nulls(len(batch), field.type) if index < 0 else cast_exactly(batch.column(index), field.type))
    return pa.RecordBatch.from_arrays(columns, schema=wanted)


def _unread(root: Root, path: str, error: Exception) -> SnapshotError:
    out_of_reach = isinstance(error, OSError | MemoryError) and not is_damage(error)
    advice = TRY_AGAIN if out_of_reach else "move it out of the store to go on without it"
    return SnapshotError(f"{root.describe(path)} cannot be read: {error!r}; {advice}")
