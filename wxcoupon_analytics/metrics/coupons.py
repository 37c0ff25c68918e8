"""User coupons as the metrics want them: lazy, in whatever engine holds them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import duckdb
import narwhals as nw
from narwhals.typing import IntoFrame

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.engines import check_ids, collect, has_brand, open_frame, wrap

IDS = ("stock_id", "coupon_code")
# A coupon in one of these can still be used, or become usable.
OPEN = ("CONFIRMING", "PENDING", "EFFECTIVE")


def open_coupons(user_coupons: IntoFrame, needs: Iterable[str]) -> tuple[nw.LazyFrame[Any], list[str]]:
    """Open user coupons with the columns needed, and say by which columns a coupon is known.

    A frame in memory is read by DuckDB, so that everything after this is said once, to lazy engines only.
    """
    key = [*(["brand_id"] if has_brand(user_coupons) else []), *IDS]
    columns = list(dict.fromkeys([*key, *needs, "coupon_state", "fetched_at"]))
    frame = open_frame(user_coupons, entity="user_coupons", needs=columns)
    schema = frame.collect_schema()
    check_ids({name: schema[name] for name in IDS}, entity="user_coupons")
    return made_lazy(frame, columns), key


def check_current(user_coupons: IntoFrame) -> None:
    """Refuse the store's history by itself, known by ``taken_at`` in every row.

    It has a row only where a coupon changed, so its last row of a coupon is not the last time the coupon was seen.
    """
    frame = wrap(user_coupons)
    if "taken_at" not in frame.collect_schema():
        return
    counts = collect(frame.select(rows=nw.len(), stored=nw.col("taken_at").count()), ["rows", "stored"])
    if 0 < counts["rows"][0] == counts["stored"][0]:
        raise ValidationError(
            "the user_coupons frame is a history (every row has taken_at), which does not say until when a coupon that did not"
            ' change was seen: pass store.load("user_coupons"), or pd.concat([store.load("user_coupons"),'
            ' store.history("user_coupons")])'
        )


def made_lazy(frame: nw.DataFrame[Any] | nw.LazyFrame[Any], columns: Sequence[str]) -> nw.LazyFrame[Any]:
    """Leave a lazy frame to its engine, and let DuckDB read one that is in memory."""
    if isinstance(frame, nw.LazyFrame):
        return frame.select(*columns)
    lazy: nw.LazyFrame[Any] = nw.from_native(_connection().from_arrow(collect(frame, columns).to_arrow()))
    return lazy


_own = threading.local()


def _connection() -> duckdb.DuckDBPyConnection:
    """Give this thread's connection. DuckDB 1 closes one that nobody holds, although relations of it live."""
    if not hasattr(_own, "connection"):
        _own.connection = duckdb.connect()
    connection: duckdb.DuckDBPyConnection = _own.connection
    return connection


def groups_of(by: str | Sequence[str] | None, added: Iterable[str]) -> list[str]:
    """Read the columns to group by, which must not be columns of the result or of the work on it."""
    groups = [by] if isinstance(by, str) else list(by or ())
    clash = sorted({name for name in groups if name in set(added) or groups.count(name) > 1})
    if clash:
        raise ValidationError(
            f"by={by!r}: {', '.join(clash)} is given twice or is a column of the result itself, or of the work on it"
        )
    return groups
