"""User coupons: of each part of a fetch the rows that are new or changed, and a manifest of who was asked.

A brand's audience is millions, and of their coupons one in fifty changes in a day: full copies would be the same rows over
and over. What an answer says is held against the current state; only the difference is kept.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from wxcoupon_analytics.entities.doubles import once_each
from wxcoupon_analytics.entities.schemas import TEXT, TIME, TIMEZONE
from wxcoupon_analytics.snapshots.compaction import compact
from wxcoupon_analytics.snapshots.contents import Contents
from wxcoupon_analytics.snapshots.current import COUPONS, NARROW, Current, content
from wxcoupon_analytics.snapshots.engines import count, literal, spilling, table
from wxcoupon_analytics.snapshots.files import SCHEMA_VERSION, Footer, metadata, stored_schema, write
from wxcoupon_analytics.snapshots.instants import BEIJING, month_of
from wxcoupon_analytics.snapshots.latest import nameless, quoted
from wxcoupon_analytics.snapshots.manifests import ALONE, ASKED, PAIRED, Part, part_id, write_manifest
from wxcoupon_analytics.snapshots.names import new_order, parse
from wxcoupon_analytics.snapshots.pseudonyms import Pseudonyms
from wxcoupon_analytics.snapshots.registry import USERS, Registry
from wxcoupon_analytics.snapshots.roots import Root
from wxcoupon_analytics.snapshots.rows import Rows

LOST: Final = ("brand_id", "stock_id", "product_coupon_id", "coupon_code", "openid")
# When the parts that the generation lacks are folded into it before the fetch is over: when they have a quarter of its
# rows, or are so many that opening them costs every merge more than the fold will.
_SHARE: Final = 4
_AT_LEAST: Final = 50_000
_PARTS: Final = 16
_ROWS_A_PART: Final = 50_000
LOOSE: Final = 32  # files of a single part in the last month


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of storing a part of a fetch.

    Attributes
    ----------
    path : str or None
        The file of the rows that are new or changed; None: there are none.
    rows : int
        Coupons in the answers.
    new, changed, unchanged : int
        How many of them were not known, were known otherwise, were known so.
    stored_as : str
        That file, or the manifest that says that nothing had changed.
    vanished : pyarrow.Table
        The coupons that the question covered and the answers lacked: ``brand_id``, ``stock_id``, ``product_coupon_id``,
        ``coupon_code`` and ``openid``, as it was asked for. All ``string``.
    """

    path: str | None
    rows: int
    new: int
    changed: int
    unchanged: int
    vanished: pa.Table
    stored_as: str

    def __repr__(self) -> str:
        return (
            f"Merged(path={self.path!r}, rows={self.rows}, new={self.new}, changed={self.changed},"
            f" unchanged={self.unchanged}, vanished={len(self.vanished)})"
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What a part of a fetch asked; rows that were saved as they are have none.

    ``filters`` None stands for that, and ``asked`` then is whoever is in the rows. ``asked`` says when each was answered,
    where that is known.
    """

    fetch_id: str
    appid: str | None
    brand_id: str | None
    asked: Mapping[str, dt.datetime | None]
    filters: Mapping[str, str] | None
    started_at: dt.datetime
    complete: bool


class Coupons:
    """The user coupons of a store."""

    def __init__(self, root: Root, names: Pseudonyms, registry: Registry, footers: dict[str, Footer]) -> None:
        self._root = root
        self._names = names
        self._registry = registry
        self._footers = footers

    def merge(self, coupons: pa.Table, question: Question, *, taken_at: dt.datetime | None = None) -> Merged:
        """Store what is new in a part of a fetch."""
        real = {self._names.of(openid): openid for openid in question.asked}
        answer = self._names.applied(once_each(COUPONS.name, coupons.cast(COUPONS.arrow)))
        current = Current(self._root, self._footers)
        part = part_id(question.fetch_id, real, question.filters)
        if before := self._stored_before(current, part):
            return self._again(current, *before, real)
        answered_at = {self._names.of(openid): instant for openid, instant in question.asked.items()}
        # The answer of one who holds nothing is not among the rows.
        times = {*pc.min_max(answer["fetched_at"]).as_py().values(), *answered_at.values()} - {None}
        earliest, latest = (min(times), max(times)) if times else (None, None)
        instant = (taken_at or latest or question.started_at).astimezone(BEIJING)
        order = new_order(instant, (name.order for name in current.rows.names), part[:8])
        with spilling() as connection:
            current.lay_out(connection, self._registry)
            comparison = _Comparison(connection, current, answer, question, answered_at, latest or instant, order)
            users = comparison.users(self._registry, instant)
            rows = comparison.rows_to_store()
            counts = comparison.counts()
            vanished = comparison.vanished()
        path = f"{COUPONS.name}/{month_of(instant)}/{order}.parquet" if len(rows) else None
        rows = rows.add_column(0, "taken_at", pa.repeat(pa.scalar(instant, TIME), len(rows)))
        described = Part(
            fetch_id=question.fetch_id,
            part_id=part,
            appid=question.appid,
            brand_id=comparison.brand_id,
            filters=None if question.filters is None else dict(question.filters),
            started_at=question.started_at.astimezone(BEIJING).isoformat(),
            fetched_from=(earliest or instant).astimezone(BEIJING).isoformat(),
            fetched_to=(latest or instant).astimezone(BEIJING).isoformat(),
            complete=question.complete,
            asked=len(real),
            rows=len(answer),
            **counts,
            vanished=len(vanished),
        )
        manifest = write_manifest(self._root, order, instant, described, users, paired=path is not None)
        if path is not None:
            said_of = metadata(
                entity=COUPONS.name,
                schema_version=str(SCHEMA_VERSION),
                taken_at=instant.isoformat(),
                complete=str(question.complete).lower(),
            )
            write(self._root, path, [rows], stored_schema(COUPONS).with_metadata(said_of))
        lost = _as_asked(vanished, real)
        return Merged(path, len(answer), **counts, vanished=lost, stored_as=path or manifest)

    def tidy(self, *, last: bool, loose: int = LOOSE) -> None:
        """Keep readings fast: fold what the current state lacks, and keep the files few, ``loose`` of a single part.

        While a fetch goes on that happens only when there is enough to be worth it.
        """
        self.fold(when_large=not last)
        if last:
            folders = {COUPONS.name: COUPONS, PAIRED: ASKED, ALONE: ASKED}
            months = [month for folder in folders for month in Contents(self._root, folder, self._footers).months]
            for folder, schema in folders.items():
                compact(self._root, folder, schema, self._footers, this_month=max(months, default=None), loose=loose)

    def where(self, path: str) -> str:
        """Find the file that holds what was stored as another, which may have been put together since."""
        name = parse(path)
        if name is None:
            return path
        contents = Contents(self._root, path.rpartition(f"/{name.month}/")[0], self._footers)
        placed = contents.placed(name.month) if name.month in contents.months else []
        return next((one.path for one in placed if one.order == name.order), path)

    def fold(self, *, when_large: bool = False) -> None:
        """Write the current state anew, if there are parts it lacks; ``when_large``: enough to be worth it."""
        current = Current(self._root, self._footers)
        if current.folded:
            return
        if when_large:
            rows, stands = current.unfolded_rows(), current.generation_rows()
            many = len(current.asked) >= max(_PARTS, stands // _ROWS_A_PART)
            if not many and (rows < _AT_LEAST or rows * _SHARE < stands):
                return
        with spilling() as connection:
            current.lay_out(connection, self._registry)
            current.fold(connection)

    def _stored_before(self, current: Current, part: str) -> tuple[str, Part] | None:
        """Find a part that was stored before, and wholly."""
        parts = current.manifests.parts(current.manifests.same(part[:8]))
        return next(((order, known) for order, known in parts.items() if known.part_id == part), None)

    def _again(self, current: Current, order: str, part: Part, real: Mapping[str, str]) -> Merged:
        """Tell again what came of a part."""
        placed = [one for one in current.rows.snapshots() if one.order == order]
        lost = [
            batch.filter(pc.is_null(batch["coupon_state"])).select(LOST)
            for batch in Rows(self._root, COUPONS, placed, [*LOST, "coupon_state"]).batches()
        ]
        vanished = pa.Table.from_batches(lost, pa.schema([(name, TEXT) for name in LOST]))
        vanished = vanished.filter(pc.is_in(vanished["openid"], pa.array(list(real), TEXT)))
        path = placed[0].path if placed else None
        lost_as_asked = _as_asked(vanished, real)
        manifest = next(one.path for one in current.manifests.same(part.part_id[:8]) if one.order == order)
        counts = part.rows, part.new, part.changed, part.unchanged
        return Merged(path, *counts, lost_as_asked, path or manifest)


class _Comparison:
    """An answer beside what was known."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        current: Current,
        answer: pa.Table,
        question: Question,
        answered_at: Mapping[str, dt.datetime | None],
        latest: dt.datetime,
        order: str,
    ) -> None:
        self._connection = connection
        self._current = current
        self._answer = answer
        self._question = question
        self._order = order
        self._latest = latest
        run = connection.execute
        source = table(connection, answer)
        run(f"CREATE TEMP TABLE answer AS SELECT *, {content()} AS content FROM {source}")  # noqa: S608
        columns = pa.array(answered_at.keys(), TEXT), pa.array(answered_at.values(), TIME)
        people = table(connection, pa.Table.from_arrays(columns, ["openid", "answered_at"]))
        # When each user's answer was given: the first of its pages, for what is not seen is not there since then.
        run(
            f"""
            CREATE TEMP TABLE person AS
            SELECT openid, coalesce(max(answered_at), min(fetched_at), $1) AS seen_at FROM (
                SELECT openid, answered_at, NULL AS fetched_at FROM {people}
                UNION ALL SELECT openid, NULL, fetched_at FROM answer WHERE openid IS NOT NULL
            ) GROUP BY openid
            """,  # noqa: S608 (names are ours)
            [latest],
        )
        run(
            f"""
            CREATE TEMP TABLE known AS
            SELECT * FROM ({current.state(connection, NARROW)})
            WHERE openid IN (SELECT openid FROM person)
            OR (stock_id, coupon_code) IN (SELECT (stock_id, coupon_code) FROM answer)
            """  # noqa: S608 (names are ours)
        )
        self.brand_id = self._brand()
        key = " AND ".join(f'a."{name}" IS NOT DISTINCT FROM k."{name}"' for name in COUPONS.key)
        # A row that came from a later part says nothing of what stood at this one's time; and an answer that had to wait
        # for its part does not undo what was seen after it.
        same = "k.content = a.content" + (" OR k.fetched_at > a.fetched_at" if question.filters is not None else "")
        run(
            f"""
            CREATE TEMP TABLE compared AS
            SELECT a.rowid AS "row", CASE
                WHEN k.part IS NULL THEN 'new' WHEN k.part < $1 AND ({same}) THEN 'unchanged' ELSE 'changed'
            END AS how
            FROM answer AS a LEFT JOIN known AS k ON {key}
                AND (NOT ({nameless(COUPONS, "k.")}) OR (k.content = a.content AND k.openid IS NOT DISTINCT FROM a.openid))
            QUALIFY 1 = row_number() OVER (PARTITION BY a.rowid)
            """,  # noqa: S608 (names are ours)
            [order],
        )
        run(f"CREATE TEMP TABLE lost AS {self._lost()}", [order])

    def _brand(self) -> str | None:
        """Tell which brand was asked for: an appid may be bound to several."""
        if self._question.brand_id is not None:
            return self._question.brand_id
        for where in ("answer", "known"):
            brands = self._connection.sql(f"SELECT DISTINCT brand_id FROM {where}").fetchall()  # noqa: S608
            if len(brands) == 1:
                found: str | None = brands[0][0]
                return found
        return None

    def _lost(self) -> str:
        """Write the query for the coupons that were asked for and are not there."""
        if self._question.filters is None:
            return "SELECT * FROM known WHERE false AND part <> $1"
        conditions = [f'k."{name}" = {literal(value)}' for name, value in self._question.filters.items()]
        brands = {row[0] for row in self._connection.sql("SELECT DISTINCT brand_id FROM known").fetchall()}
        if self.brand_id is not None:
            conditions.append(f"k.brand_id = {literal(self.brand_id)}")
        elif brands - {None}:
            conditions.append("false")  # of several brands, no telling whose are missing
        if self._question.appid is not None:
            conditions.append(f"k.appid = {literal(self._question.appid)}")
        key = " AND ".join(f'a."{name}" IS NOT DISTINCT FROM k."{name}"' for name in COUPONS.key)
        return f"""
            SELECT k.* FROM known AS k JOIN person AS p ON p.openid = k.openid
            WHERE k.coupon_state IS NOT NULL AND k.part < $1 AND NOT ({nameless(COUPONS, "k.")})
            AND (k.fetched_at IS NULL OR k.fetched_at <= p.seen_at)
            AND NOT EXISTS (SELECT 1 FROM answer AS a WHERE {key})
            AND {" AND ".join(conditions) or "true"}
        """  # noqa: S608 (names are ours, values escaped)

    def counts(self) -> dict[str, int]:
        """Count the coupons of the answer by what they are beside the known ones."""
        found: dict[str, int] = dict(self._connection.sql("SELECT how, count(*) FROM compared GROUP BY how").fetchall())
        return {how: found.get(how, 0) for how in ("new", "changed", "unchanged")}

    def vanished(self) -> pa.Table:
        """Give what was asked for and is not there."""
        return self._connection.sql(f"SELECT {quoted(LOST)} FROM lost ORDER BY ALL").to_arrow_table()  # noqa: S608

    def users(self, registry: Registry, instant: dt.datetime) -> pa.Table:
        """Register the users, and give the numbers of those whose answer is whole."""
        run = self._connection.execute
        if self._question.filters is not None:
            run(
                "CREATE TEMP TABLE whole AS SELECT CAST($1 AS VARCHAR) AS appid, openid FROM person",
                [self._question.appid],
            )
        else:
            # Rows alone do not say whether they are all a user has; who has others was not asked for, as far as is known.
            run(
                """
                CREATE TEMP TABLE whole AS
                SELECT DISTINCT appid, openid FROM answer AS u WHERE openid IS NOT NULL AND NOT EXISTS (
                    SELECT 1 FROM known AS k
                    WHERE k.openid = u.openid AND k.appid IS NOT DISTINCT FROM u.appid AND k.coupon_state IS NOT NULL
                    AND NOT EXISTS (
                        SELECT 1 FROM answer AS a WHERE a.stock_id = k.stock_id AND a.coupon_code = k.coupon_code
                        AND a.brand_id IS NOT DISTINCT FROM k.brand_id
                    )
                )
                """
            )
        everyone = "SELECT appid, openid FROM whole UNION SELECT appid, openid FROM answer"
        registry.add(self._connection, self._connection.sql(everyone).to_arrow_table().cast(USERS), seen=instant)
        return self._connection.sql(
            f"""
            SELECT r.segment, r."row", p.seen_at AS fetched_at
            FROM whole AS w JOIN person AS p ON p.openid = w.openid
            JOIN {registry.relation(self._connection)} AS r
            ON r.openid = w.openid AND r.appid IS NOT DISTINCT FROM w.appid
            QUALIFY 1 = row_number() OVER (PARTITION BY w.appid, w.openid ORDER BY r.segment, r."row")
            ORDER BY r.segment, r."row"
            """  # noqa: S608 (names are ours)
        ).to_arrow_table()

    def rows_to_store(self) -> pa.Table:
        """Give the rows that are new or changed, and for each coupon that vanished one without a state."""
        names = COUPONS.names
        changed = "c.how <> 'unchanged'"
        if self._question.filters is None:  # seen again, and no manifest says so
            changed += """ OR (a.fetched_at IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM whole AS w WHERE w.openid = a.openid AND w.appid IS NOT DISTINCT FROM a.appid
            ))"""
        found = f'SELECT {quoted(names, "a.")} FROM answer AS a JOIN compared AS c ON c."row" = a.rowid WHERE {changed}'  # noqa: S608
        if count(self._connection, "lost"):
            key = " AND ".join(f'l."{name}" IS NOT DISTINCT FROM s."{name}"' for name in COUPONS.key)
            became = {
                "coupon_state": "NULL",
                "fetched_at": "p.seen_at",
                "fetched_day": f"CAST(p.seen_at AT TIME ZONE '{TIMEZONE}' AS DATE)",
            }
            chosen = ", ".join(f"""{became.get(name, f's."{name}"')} AS "{name}" """ for name in names)
            found += f"""
                UNION ALL SELECT {chosen} FROM ({self._current.state(self._connection, names)}) AS s
                JOIN lost AS l ON {key} JOIN person AS p ON p.openid = l.openid
            """  # noqa: S608 (names are ours)
        table = self._connection.sql(f"SELECT * FROM ({found}) ORDER BY {quoted(COUPONS.key)}").to_arrow_table()  # noqa: S608
        return table.cast(COUPONS.arrow)


def _as_asked(vanished: pa.Table, real: Mapping[str, str]) -> pa.Table:
    """Give the openids as they were asked for, where the store has them as pseudonyms."""
    openids = pa.array([real[openid] for openid in vanished["openid"].to_pylist()], TEXT)
    place = LOST.index("openid")
    return vanished.set_column(place, "openid", openids).cast(pa.schema([(name, TEXT) for name in LOST]))
