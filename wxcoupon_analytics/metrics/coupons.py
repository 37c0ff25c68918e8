"""User coupons as the metrics want them: lazy, in whatever engine holds them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import narwhals as nw
from narwhals.typing import IntoFrame

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.engines import check_ids, check_times, collect, has_brand, open_frame, same_name, wrap

IDS = ("stock_id", "coupon_code")
# What user coupons are opened with, whatever is asked of them.
OWN = ("brand_id", *IDS, "coupon_state", "fetched_at")
# A coupon in one of these can still be used, or become usable.
OPEN = ("CONFIRMING", "PENDING", "EFFECTIVE")


def open_coupons(
    user_coupons: IntoFrame, needs: Iterable[str], groups: Mapping[str, str] | None = None
) -> tuple[nw.LazyFrame[Any], list[str]]:
    """Open user coupons with the columns needed and the groups, and say by which columns a coupon is known.

    A frame in memory is read by DuckDB, so that everything after this is said once, to lazy engines only.
    """
    key = [*(["brand_id"] if has_brand(user_coupons) else []), *IDS]
    columns = list(dict.fromkeys([*key, *needs, "coupon_state", "fetched_at"]))
    frame = open_frame(user_coupons, entity="user_coupons", needs=[*columns, *(groups or {}).values()])
    schema = frame.collect_schema()
    check_ids({name: schema[name] for name in IDS}, entity="user_coupons")
    if isinstance(frame, nw.DataFrame):  # a column of nothing has any dtype, or none
        kinds = {"_time": nw.Datetime("us", "Asia/Shanghai"), "_day": nw.Date()}
        frame = frame.with_columns(
            nw.lit(None, kind).alias(name)
            for name in columns
            for end, kind in kinds.items()
            if name.endswith(end) and frame[name].is_null().all()
        )
    chosen = with_groups(frame, columns, groups or {})
    lazy = with_dtypes(made_lazy(chosen, chosen.collect_schema().names()), groups or {})
    schema = lazy.collect_schema()
    check_times({name: schema[name] for name in columns if name.endswith("_time")}, entity="user_coupons")
    return lazy, key


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


def groups_of(
    by: str | Sequence[str] | None, added: Iterable[str], *, own: Iterable[str], like: IntoFrame
) -> dict[str, str]:
    """Read the columns to group by, each under the name that it has while the metric works on it.

    A column that the metric reads anyway, one of its ``own``, keeps its name. Any other gets one that meets none of the
    metric's, in letters of any case: DuckDB and Spark take a ``Count`` for a ``count``. Only the result, a frame like this
    one, cannot have two columns of one name.
    """
    groups, same, kept = [by] if isinstance(by, str) else list(by or ()), same_name(like), {*OWN, *own}
    times = Counter(same(name) for name in [*groups, *added])
    if clash := sorted({name for name in groups if times[same(name)] > 1}):
        raise ValidationError(f"by={by!r}: {', '.join(clash)} is given twice or is a column of the result itself")
    return {name if name in kept else f"group {place}": name for place, name in enumerate(groups)}


def with_groups(frame: Any, columns: Sequence[str], groups: Mapping[str, str]) -> Any:
    """Choose columns, and those to group by under the names that they have in here."""
    names = {**dict(zip(columns, columns, strict=True)), **groups}
    return frame.select(*(nw.col(name).alias(inner) for inner, name in names.items()))


def with_dtypes(frame: Any, groups: Iterable[str]) -> Any:
    """Make text of groups that have no dtype: a pandas column of nothing but None comes so."""
    schema = frame.collect_schema()
    untyped = [name for name in groups if schema[name] == nw.Unknown]
    return frame.with_columns(nw.col(*untyped).cast(nw.String)) if untyped else frame
