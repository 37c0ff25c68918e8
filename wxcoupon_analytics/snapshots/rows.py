"""The rows of many snapshots as one stream, each saying which snapshot it is from."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from wxcoupon_analytics.entities.schemas import Entity
from wxcoupon_analytics.errors import SnapshotError
from wxcoupon_analytics.snapshots.contents import Placed
from wxcoupon_analytics.snapshots.files import batches, stored_schema
from wxcoupon_analytics.snapshots.roots import Root

# What a stream adds: the snapshot's number in the order asked for, and the row's number in the stream.
SNAPSHOT: Final = "#snapshot"
ROW: Final = "#row"
_AHEAD: Final = 8  # files read while others are used; more than this stays in memory of none
_SMALL: Final = 4 << 20


class Rows:
    """Rows of snapshots, read as they are asked for.

    An engine that pulls the stream wraps what goes wrong in an error of its own: ``fault`` has the cause.
    """

    def __init__(self, root: Root, schema: Entity, snapshots: Sequence[Placed], columns: Sequence[str]) -> None:
        self._root = root
        self._entity = schema
        self._columns = list(columns)
        self._files = _by_file(snapshots)
        stored = stored_schema(schema)
        fields = [stored.field(name) for name in columns]
        self.schema = pa.schema([*fields, pa.field(SNAPSHOT, pa.int64()), pa.field(ROW, pa.int64())])
        self.fault: SnapshotError | FileNotFoundError | None = None

    def reader(self) -> pa.RecordBatchReader:
        """Give the stream; it can be read once."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    @contextlib.contextmanager
    def pulled(self) -> Iterator[None]:
        """Raise what went wrong in the stream itself, not what the engine that pulled it made of it."""
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError, SnapshotError):
            if self.fault is not None:
                raise self.fault from None
            raise

    def table(self) -> pa.Table:
        """Read everything into memory."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the files in order, the small ones some ahead."""
        row = 0
        try:
            with ThreadPoolExecutor(_AHEAD) as readers:
                for source, wanted in _ahead(readers, self._files, self._open):
                    place = 0
                    for batch in source:
                        numbers, kept = _numbers(wanted, place, len(batch))
                        place += len(batch)
                        rows = np.arange(row, row + len(batch))
                        row += len(batch)
                        numbered = pa.RecordBatch.from_arrays(
                            [*batch.columns, pa.array(numbers), pa.array(rows)], schema=self.schema
                        )
                        yield numbered if kept is None else numbered.filter(pa.array(kept))
        except (SnapshotError, FileNotFoundError) as error:
            self.fault = error
            raise

    def _open(self, path: str) -> Iterator[pa.RecordBatch]:
        read = batches(self._root, path, self._entity, self._columns)
        return iter(list(read)) if self._root.size(path) <= _SMALL else read


_Wanted = list[tuple[int, Placed]]


def _by_file(snapshots: Sequence[Placed]) -> list[tuple[str, _Wanted]]:
    """Group snapshots, numbered in the order given, by the file they are in."""
    by_path: dict[str, _Wanted] = {}
    for number, placed in enumerate(snapshots):
        by_path.setdefault(placed.path, []).append((number, placed))
    return list(by_path.items())


def _numbers(wanted: _Wanted, place: int, count: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Number a batch's rows by their snapshots, and mark those that are wanted; None: all are."""
    if wanted[0][1].rows is None:
        return np.full(count, wanted[0][0]), None
    numbers = np.full(count, -1)
    for number, placed in wanted:
        begin, end = placed.first - place, placed.first + (placed.rows or 0) - place
        numbers[max(begin, 0) : max(end, 0)] = number
    kept = numbers >= 0
    return numbers, None if kept.all() else kept


def _ahead(
    readers: ThreadPoolExecutor,
    files: list[tuple[str, _Wanted]],
    opened: Callable[[str], Iterator[pa.RecordBatch]],
) -> Iterator[tuple[Iterator[pa.RecordBatch], _Wanted]]:
    """Open files some ahead of their use."""
    waiting: deque[tuple[Future[Iterator[pa.RecordBatch]], _Wanted]] = deque()
    for path, wanted in files:
        waiting.append((readers.submit(opened, path), wanted))
        if len(waiting) > _AHEAD:
            future, of_it = waiting.popleft()
            yield future.result(), of_it
    for future, of_it in waiting:
        yield future.result(), of_it
