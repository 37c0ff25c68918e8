"""Which snapshots an entity's folder holds, and where.

Daily files are deleted only after a compacted file holds them, and two processes may compact at once, so a snapshot can
lie in several files for a while. It is read from one of them: the one that holds most of them, and of equals the one
whose name comes first. Whoever looks decides the same.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from wxcoupon_analytics.errors import SnapshotError
from wxcoupon_analytics.snapshots.files import Footer, Held, footer
from wxcoupon_analytics.snapshots.instants import month_of
from wxcoupon_analytics.snapshots.names import Name, added, hashed, parse, stamp
from wxcoupon_analytics.snapshots.roots import Root

# A snapshot is read from where it is whole: a base has only what was left of it.
_RANK = {"compacted": 0, "snapshot": 1, "base": 2}


@dataclass(frozen=True, slots=True)
class Placed:
    """A snapshot's place among all, and the rows of a file that are its: all of them, or some of a compacted one's."""

    order: str
    path: str
    first: int = 0
    rows: int | None = None


class Contents:
    """An entity's files at one moment.

    Raises
    ------
    SnapshotError
        When there is a file that no store wrote.
    """

    def __init__(self, root: Root, entity: str, footers: dict[str, Footer]) -> None:
        self._root = root
        self._footers = footers  # of compacted files, which never change: kept from one look to the next
        self.names: list[Name] = []
        for path in root.files(entity):
            if not path.endswith(".parquet"):
                continue
            name = parse(path)
            if name is None:
                raise SnapshotError(
                    f"{root.describe(path)} was not saved by this store: move it out, other readers take it for a snapshot"
                )
            self.names.append(name)
        self.names.sort(key=lambda name: (name.month, name.order))

    @cached_property
    def months(self) -> dict[str, list[Name]]:
        """The files by their month, oldest first."""
        return {month: list(files) for month, files in groupby(self.names, key=lambda name: name.month)}

    def snapshots(
        self,
        *,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        after: str = "",
        from_month: str = "",
    ) -> list[Placed]:
        """Find the snapshots taken between two instants, both included, that come after one in order.

        Of months before ``from_month`` there are none, and no file of them is looked into.
        """
        first = "" if since is None else stamp(since)
        last = "Z" if until is None else stamp(until) + "Z"
        found = []
        for month, names in self.months.items():
            if month < from_month or (until is not None and month > month_of(until)):
                continue
            if names[-1].order >= max(first, after):  # a file has the name of its last snapshot
                found += [p for p in self.placed(month) if first <= p.order <= last and p.order > after]
        return sorted(found, key=lambda placed: placed.order)

    def digest(self, *, until: str = "Z") -> int:
        """Hash the set of snapshots up to one in order, that one included."""
        return added(self.digest_of(month, until=until) for month in self.months)

    def digest_of(self, month: str, *, until: str = "Z") -> int:
        """Hash the set of a month's snapshots up to one in order."""
        names = self.months[month]
        if len(names) == 1 and names[0].order <= until:
            return names[0].digest  # without a look into the file
        return added(hashed(placed.order) for placed in self.placed(month) if placed.order <= until)

    def footer(self, name: Name) -> Footer:
        """Read what a file says of itself."""
        if name.kind == "snapshot":
            return footer(self._root, name.path)
        if name.path not in self._footers:
            self._footers[name.path] = footer(self._root, name.path)
        return self._footers[name.path]

    @property
    def told_from(self) -> str:
        """Since when the past can be told, as names tell instants: before that, history was pruned."""
        bases = (self.footer(name).said["pruned_before"] for name in self.names if name.kind == "base")
        return max(bases, default="")

    def held(self, placed: Placed) -> Held:
        """Read what its file says of a snapshot."""
        if placed.rows is None:
            (held,) = footer(self._root, placed.path).holds
            return held
        return next(held for held in self._footers[placed.path].holds if held.order == placed.order)

    def rows(self, placed: Placed) -> int:
        """Count a snapshot's rows."""
        return footer(self._root, placed.path).rows if placed.rows is None else placed.rows

    def placed(self, month: str) -> list[Placed]:
        """Place each snapshot of a month in one file, in order."""
        placed: dict[str, Placed] = {}
        for name in sorted(self.months[month], key=lambda name: (_RANK[name.kind], -name.count, name.path)):
            if name.kind == "snapshot":
                placed.setdefault(name.order, Placed(name.order, name.path))
                continue
            first = 0
            for held in self.footer(name).holds:
                placed.setdefault(held.order, Placed(held.order, name.path, first, held.rows))
                first += held.rows
        return sorted(placed.values(), key=lambda one: one.order)
