"""Files kept few: a finished month's snapshots become one file.

That changes nothing of what the store says. A compacted file holds its snapshots row by row, and says which they are; the
files it was made of are deleted once it is in place. A reader who meets both takes each snapshot once; outside readers,
who do not look into footers, see rows twice for that moment, but never miss one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from wxcoupon_analytics.entities.schemas import Entity
from wxcoupon_analytics.snapshots.contents import Contents, Placed
from wxcoupon_analytics.snapshots.files import (
    SCHEMA_VERSION,
    Footer,
    Held,
    describe_held,
    metadata,
    stored_schema,
    write,
)
from wxcoupon_analytics.snapshots.names import Name, compacted_name
from wxcoupon_analytics.snapshots.roots import Root
from wxcoupon_analytics.snapshots.rows import Rows

_SMALL: Final = 16 << 20  # bytes: more than that is rewritten once, at the end of its month


def compact(
    root: Root,
    folder: str,
    schema: Entity,
    footers: dict[str, Footer],
    *,
    this_month: str | None = None,
    loose: int | None = None,
) -> None:
    """Put the snapshots of every month before the last, or before ``this_month``, into one file a month.

    With ``loose``, those of the last month too, as often as there are more than so many small files of a single one.
    """
    contents = Contents(root, folder, footers)
    for month, names in contents.months.items():
        if month < (this_month or max(contents.months)):
            if len(names) > 1:
                put_together(root, folder, schema, contents, month, names)
            continue
        single = [name for name in names if name.kind == "snapshot"]
        if loose is not None and len(single) > loose:
            small = [name for name in single if root.size(name.path) <= _SMALL]
            if len(small) > loose:
                put_together(root, folder, schema, contents, month, small)


def put_together(
    root: Root, folder: str, schema: Entity, contents: Contents, month: str, names: Sequence[Name]
) -> None:
    """Make one file of some of a month's."""
    paths = {name.path for name in names}
    snapshots = [placed for placed in contents.placed(month) if placed.path in paths]
    footers = [contents.footer(name) for name in names]
    path = write_together(
        root,
        f"{folder}/{month}",
        schema,
        [contents.held(placed) for placed in snapshots],
        stacked(root, schema, snapshots),
        footers,
    )
    for gone in paths - {path}:
        root.delete(gone)


def write_together(
    root: Root,
    folder: str,
    schema: Entity,
    holds: Sequence[Held],
    rows: Iterable[pa.RecordBatch | pa.Table],
    footers: Iterable[Footer],
    *,
    pruned_before: str = "",
) -> str:
    """Write rows of several snapshots as one file, with what the files they come from said of them; give its path."""
    said = {"entity": schema.name, "schema_version": str(SCHEMA_VERSION), "holds": describe_held(holds)}
    parts: dict[str, Any] = {}  # of manifests
    for footer in footers:
        parts |= json.loads(footer.said.get("parts", "{}"))
        pruned_before = max(pruned_before, footer.said.get("pruned_before", ""))
    if parts:
        said["parts"] = json.dumps(parts, ensure_ascii=False)
    if pruned_before:
        said["pruned_before"] = pruned_before
    name = compacted_name("base" if pruned_before else "compacted", (held.order for held in holds))
    write(root, f"{folder}/{name}", rows, stored_schema(schema).with_metadata(metadata(**said)))
    return f"{folder}/{name}"


def stacked(root: Root, schema: Entity, snapshots: Sequence[Placed]) -> Iterator[pa.RecordBatch]:
    """Give the rows of snapshots in order."""
    names = stored_schema(schema).names
    for placed in snapshots:
        for batch in Rows(root, schema, [placed], names).batches():
            yield batch.select(names)
