"""The latest rows kept beside the snapshots, now and then, so that a reading need not begin at the first of them.

A checkpoint has the latest row of every key as of one snapshot. It counts only while the snapshots up to that one are
exactly those it was made of: one that is saved late, or pruned, makes it void, and the next save makes another.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from wxcoupon_analytics.entities.schemas import Entity
from wxcoupon_analytics.snapshots.contents import Contents, Placed
from wxcoupon_analytics.snapshots.files import SCHEMA_VERSION, Footer, metadata, stored_schema, write
from wxcoupon_analytics.snapshots.latest import latest_rows
from wxcoupon_analytics.snapshots.names import added, stamp
from wxcoupon_analytics.snapshots.roots import OURS, Root
from wxcoupon_analytics.snapshots.rows import Rows

_CHECKPOINT: Final = re.compile(r"(.+)\.(\d+)\.([0-9a-f]{16})\.parquet")
# How many files a reading may cost beyond a checkpoint: a month of daily snapshots would be 31.
_LOOSE: Final = 20
_ROW_GROUP: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The latest row of every key as of a snapshot, and which snapshots that took into account."""

    path: str
    order: str
    rows: int
    digest: int


def sources(root: Root, entity: str, contents: Contents, *, until: dt.datetime | None = None) -> list[Placed]:
    """List what has to be read for the latest rows: a checkpoint that counts, and the snapshots after it."""
    last = "Z" if until is None else stamp(until) + "Z"
    for checkpoint in reversed(_checkpoints(root, entity)):
        if checkpoint.order <= last and contents.digest(until=checkpoint.order) == checkpoint.digest:
            after = contents.snapshots(until=until, after=checkpoint.order)
            return [Placed(checkpoint.order, checkpoint.path), *after]
    return contents.snapshots(until=until)


def keep_checkpoints(root: Root, schema: Entity, footers: dict[str, Footer]) -> None:
    """Make the checkpoints that readings would miss, at the ends of months and of long rows of files; drop the others.

    A checkpoint repeats what the snapshots say, so one is made only where those since the last have at least half as many
    rows as it: full snapshots do, a log of events seldom.
    """
    contents = Contents(root, schema.name, footers)
    there = _checkpoints(root, schema.name)
    kept: list[Checkpoint] = []
    digest = 0
    months = list(contents.months)
    for month in months:
        names = contents.months[month]
        ends = [names[-1].order] if month != months[-1] else []
        if not ends:
            ends = [c.order for c in there if c.order >= names[0].order]
            since = max([name.order for name in names if ends and name.order <= ends[-1]], default="")
            if sum(name.order > since for name in names) > _LOOSE:
                ends.append(names[-1].order)
        for order in ends:
            upto = added([digest, contents.digest_of(month, until=order)])
            found = next((c for c in there if (c.order, c.digest) == (order, upto)), None)
            found = found or _make(root, schema, contents, kept[-1] if kept else None, order, upto)
            kept += [found] if found else []
        digest = added([digest, contents.digest_of(month)])
    # Of the last month's, only the newest is of use.
    here = contents.months[months[-1]][0].order if months else ""
    newest = [c for c in kept if c.order >= here][-1:]
    kept = [c for c in kept if c.order < here] + newest
    for checkpoint in there:
        if checkpoint not in kept:
            root.delete(checkpoint.path)


def _make(
    root: Root, schema: Entity, contents: Contents, base: Checkpoint | None, order: str, digest: int
) -> Checkpoint | None:
    """Write the latest rows as of a snapshot, if there are enough new ones."""
    stored = stored_schema(schema)
    after = [p for p in contents.snapshots(after=base.order if base else "") if p.order <= order]
    if base is not None and 2 * sum(contents.rows(placed) for placed in after) < base.rows:
        return None
    if base is not None:
        after.insert(0, Placed(base.order, base.path))
    found = latest_rows(schema, Rows(root, schema, after, stored.names)).select(stored.names)
    path = f"{OURS}/checkpoints/{schema.name}/{order}.{len(found)}.{digest:016x}.parquet"
    said = metadata(entity=schema.name, schema_version=str(SCHEMA_VERSION))
    write(root, path, [found], stored.with_metadata(said))
    return Checkpoint(path, order, len(found), digest)


def _checkpoints(root: Root, entity: str) -> list[Checkpoint]:
    """List an entity's checkpoints, oldest first."""
    found = []
    for path in root.files(f"{OURS}/checkpoints/{entity}"):
        if named := _CHECKPOINT.fullmatch(PurePosixPath(path).name):
            found.append(Checkpoint(path, named[1], int(named[2]), int(named[3], 16)))
    return sorted(found, key=lambda checkpoint: checkpoint.order)
