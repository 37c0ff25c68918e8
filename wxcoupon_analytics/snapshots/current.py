"""The current state of user coupons: one file, one row a coupon, written anew now and then and switched at once.

A generation says which parts of fetches it includes. Whoever reads takes the newest, and lays over it whatever it does not
include for certain; laying a part over it twice changes nothing, for of a coupon's rows the one of the later part counts,
and of the times at which it was seen the latest. So a fold that was killed, or two at once, lose nothing: at worst there
is more to lay over.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import secrets
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from wxcoupon_analytics.entities.schemas import TEXT, TIMEZONE, lookup
from wxcoupon_analytics.snapshots.contents import Contents
from wxcoupon_analytics.snapshots.engines import count, literal, parquet, streamed, table
from wxcoupon_analytics.snapshots.files import SCHEMA_VERSION, Footer, footer, metadata, stored_schema, write
from wxcoupon_analytics.snapshots.latest import nameless, quoted
from wxcoupon_analytics.snapshots.manifests import ASKED, Manifests, Part
from wxcoupon_analytics.snapshots.names import added, hashed, saved_when
from wxcoupon_analytics.snapshots.registry import Registry
from wxcoupon_analytics.snapshots.roots import OURS, Root
from wxcoupon_analytics.snapshots.rows import ROW, SNAPSHOT, Rows

COUPONS: Final = lookup("user_coupons")
_FOLDER: Final = f"{OURS}/current/user_coupons"
_GENERATION: Final = re.compile(r"(\d{12})-[0-9a-f]{8}\.parquet")
NAMELESS: Final = nameless(COUPONS)
# What a generation adds to the history's columns: the part a row came from, and a hash of what may change.
_ADDED: Final = [pa.field("part", TEXT), pa.field("content", pa.uint64())]
_SCHEMA: Final = pa.schema([*stored_schema(COUPONS), *_ADDED])
_WHEN: Final = ("fetched_at", "fetched_day")
_FILTERED: Final = ("brand_id", "stock_id", "product_coupon_id", "coupon_state")
_SORTED: Final = 1_000_000  # coupons: to sort more would take more memory than the fold itself
# What telling new from known coupons takes.
NARROW: Final = (*COUPONS.key, "openid", "appid", "product_coupon_id", "coupon_state", "fetched_at", "part", "content")


class Current:
    """The current state as the files have it at one moment: a generation, and the parts that it lacks.

    Parameters
    ----------
    until : datetime, optional
        The state as it was then, worked out from the history alone.
    """

    def __init__(self, root: Root, footers: dict[str, Footer], *, until: dt.datetime | None = None) -> None:
        self._root = root
        self._footers = footers
        self.rows = Contents(root, COUPONS.name, footers)
        self.manifests = Manifests(root, self.rows, footers)
        self._generations = sorted(p for p in root.files(_FOLDER) if _GENERATION.fullmatch(PurePosixPath(p).name))
        self.generation = self._generations[-1] if self._generations and until is None else None
        included, from_month = (set[int](), "") if self.generation is None else self._included(self.generation)
        rows = self.rows.snapshots(until=until, from_month=from_month)
        asked = self.manifests.placed(until=until, from_month=from_month)
        self.deltas = [placed for placed in rows if hashed(placed.order) not in included]
        self.asked = [placed for placed in asked if hashed(placed.order) not in included]

    @property
    def folded(self) -> bool:
        """Whether the generation alone is the current state."""
        return not self.deltas and not self.asked

    def check_it_is_there(self) -> None:
        """Raise a FileNotFoundError when the generation has been replaced by another."""
        if self.generation is not None and self.generation not in self._root.files(_FOLDER):
            raise FileNotFoundError(self._root.describe(self.generation))

    def unfolded_rows(self) -> int:
        """Count the rows that the generation lacks."""
        return sum(self.rows.rows(placed) for placed in self.deltas)

    def generation_rows(self) -> int:
        """Count the coupons of the generation."""
        return self._footer(self.generation).rows if self.generation else 0

    def lay_out(self, connection: duckdb.DuckDBPyConnection, registry: Registry) -> None:
        """Read the parts that the generation lacks into tables of the engine."""
        if self.folded:
            return
        token = secrets.token_hex(8)  # names that no condition reads from
        self._delta, self._covered = f"delta_{token}", f"covered_{token}"
        orders = [placed.order for placed in self.deltas]
        numbers = table(
            connection, pa.table({"number": pa.array(range(len(orders)), pa.int64()), "part": pa.array(orders, TEXT)})
        )
        rows = Rows(self._root, COUPONS, self.deltas, stored_schema(COUPONS).names)
        with rows.pulled():
            connection.execute(
                f"""
                CREATE TEMP TABLE {self._delta} AS
                SELECT * EXCLUDE (number, "{SNAPSHOT}", "{ROW}"), {content()} AS content
                FROM {table(connection, rows.reader())} JOIN {numbers} ON number = "{SNAPSHOT}"
                QUALIFY {NAMELESS} OR 1 = row_number() OVER (
                    PARTITION BY {quoted(COUPONS.key)}
                    ORDER BY "{SNAPSHOT}" DESC, fetched_at DESC NULLS LAST, "{ROW}" DESC
                )
                """  # noqa: S608 (names are ours)
            )
        parts = self.manifests.parts(self.asked)
        questions = {parts[placed.order].question: parts[placed.order] for placed in self.asked}
        self._covers = list(questions.values())
        places = {question: n for n, question in enumerate(questions)}
        of_part = [places[parts[placed.order].question] for placed in self.asked]
        saved = pa.array([saved_when(placed.order) for placed in self.asked], TEXT)
        numbers = table(
            connection,
            pa.table({"number": range(len(of_part)), "question": pa.array(of_part, pa.int64()), "saved": saved}),
        )
        asked = Rows(self._root, ASKED, self.asked, ASKED.names)
        with asked.pulled():
            connection.execute(
                f"""
                CREATE TEMP TABLE {self._covered} AS
                SELECT question, appid, openid, max(fetched_at) AS seen_at, arg_max(saved, fetched_at) AS saved
                FROM {table(connection, asked.reader())} AS m JOIN {numbers} ON number = "{SNAPSHOT}"
                JOIN {registry.relation(connection)} AS r ON r.segment = m.segment AND r."row" = m."row"
                GROUP BY ALL
                """  # noqa: S608 (names are ours)
            )

    def state(self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> str:
        """Write the query for columns of the current state, after :meth:`lay_out`.

        Of the generation, only the columns wanted are read, and those it takes to lay the rest over them.
        """
        stands = self.stands(connection)
        if self.folded:
            return f"SELECT {quoted(columns)} FROM {stands}"  # noqa: S608 (names are ours)
        inner = list(dict.fromkeys([*columns, *COUPONS.key, "part", "appid", "openid", "fetched_at", *_FILTERED]))
        key = " AND ".join(f'g."{name}" IS NOT DISTINCT FROM d."{name}"' for name in COUPONS.key)
        again = ""
        # Rows of no key would be there twice when a part is laid over again.
        if self.generation and count(connection, f"{self._delta} WHERE {NAMELESS}"):
            again = f"AND NOT (({nameless(COUPONS, 'd.')}) AND d.part IN (SELECT part FROM {stands} WHERE {NAMELESS}))"  # noqa: S608
        seen = [f"c{n}.seen_at" for n in range(len(self._covers))]
        joins = " ".join(
            f"LEFT JOIN (SELECT * FROM {self._covered} WHERE question = {n}) AS c{n} ON c{n}.openid = s.openid"  # noqa: S608
            # Of what was stored after it, an answer does not say that it was there.
            f" AND c{n}.appid IS NOT DISTINCT FROM s.appid AND c{n}.saved > split_part(s.part, '-', 2) AND {_covers(part)}"
            for n, part in enumerate(self._covers)
        )
        fetched_at = f"greatest({', '.join(['s.fetched_at', *seen])})"
        outer = {
            "fetched_at": fetched_at,
            "fetched_day": f"CASE WHEN {fetched_at} IS DISTINCT FROM s.fetched_at"
            f" THEN CAST({fetched_at} AT TIME ZONE '{TIMEZONE}' AS DATE) ELSE s.fetched_day END",
        }
        chosen = ", ".join(f'{outer.get(name, f"""s."{name}" """)} AS "{name}"' for name in columns)
        return f"""
            SELECT {chosen} FROM (
                SELECT {quoted(inner, "g.")} FROM {stands} AS g
                LEFT JOIN (SELECT {quoted(COUPONS.key)}, part FROM {self._delta}) AS d ON {key}
                WHERE d.part IS NULL OR d.part <= g.part
                UNION ALL
                SELECT {quoted(inner, "d.")} FROM {self._delta} AS d
                LEFT JOIN (SELECT {quoted(COUPONS.key)}, part FROM {stands}) AS g ON {key}
                WHERE (g.part IS NULL OR g.part < d.part) {again}
            ) AS s {joins}
        """  # noqa: S608 (names are ours, values escaped)

    def stands(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Give the generation as something to select from."""
        if self.generation is None:
            return table(connection, _SCHEMA.empty_table())
        return parquet(connection, self._root, [self.generation])

    def fold(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Write the next generation, after :meth:`lay_out`, and delete those before it; give its path."""
        number = int(PurePosixPath(self._generations[-1]).name[:12]) + 1 if self._generations else 1
        path = f"{_FOLDER}/{number:012d}-{secrets.token_hex(4)}.parquet"
        said = metadata(entity=COUPONS.name, schema_version=str(SCHEMA_VERSION), includes=self._includes())
        state = self.state(connection, _SCHEMA.names)
        if self.generation_rows() + self.unfolded_rows() <= _SORTED:
            # In the order of load: rows that changed would else gather at the end.
            state += f" ORDER BY {quoted(COUPONS.key)}"
        rows = connection.sql(state)
        write(self._root, path, streamed(rows, _SCHEMA), _SCHEMA.with_metadata(said))
        # Another process may have written one at the same time: of the two, the later name stays.
        for before in self._generations:
            self._root.delete(before)
        return path

    def _footer(self, path: str) -> Footer:
        if path not in self._footers:
            self._footers[path] = footer(self._root, path)
        return self._footers[path]

    def _included(self, generation: str) -> tuple[set[int], str]:
        """Tell the parts that a generation includes by their hashes, and before which month it includes them all."""
        includes = json.loads(self._footer(generation).said["includes"])
        orders = set(np.frombuffer(base64.b64decode(includes["parts"]), "<u8").tolist())
        whole = self._digest(before=includes["months_before"]) == int(includes["digest"], 16)
        return orders, includes["months_before"] if whole else ""

    def _includes(self) -> str:
        """Say which parts there are: those of this month and the last one by one, those before by one hash."""
        months = sorted({*self.rows.months, *self.manifests.alone.months})
        first = months[-2] if len(months) > 1 else ""
        named = {*self.rows.snapshots(from_month=first), *self.manifests.placed(from_month=first)}
        hashes = np.array(sorted({hashed(placed.order) for placed in named}), "<u8")
        digest = f"{self._digest(before=first):016x}"
        return json.dumps(
            {"months_before": first, "digest": digest, "parts": base64.b64encode(hashes.tobytes()).decode()}
        )

    def _digest(self, *, before: str) -> int:
        """Hash the set of all parts of the months before one."""
        listed = (self.rows, self.manifests.alone)
        return added(contents.digest_of(m) for contents in listed for m in contents.months if m < before)


def content() -> str:
    """Write the expression that hashes what may change of a coupon. A null counts for nothing, so a column may be added."""
    told = []
    for column in COUPONS.columns:
        if column.name not in _WHEN:
            value = (
                f'epoch_us("{column.name}")'
                if pa.types.is_timestamp(column.type)
                else f'CAST("{column.name}" AS VARCHAR)'
            )
            told.append(f"'{column.name}=' || {value}")
    return f"CAST(md5_number_lower(concat_ws(chr(31), {', '.join(told)})) AS UBIGINT)"


def _covers(part: Part) -> str:
    """Write the condition that an answer to a part's question covers a coupon."""
    conditions = [] if part.brand_id is None else [f"s.brand_id = {literal(part.brand_id)}"]
    if part.filters is None:
        conditions.append("s.coupon_state IS NOT NULL")
    conditions += [f's."{name}" = {literal(value)}' for name, value in (part.filters or {}).items()]
    return " AND ".join(conditions) or "true"
