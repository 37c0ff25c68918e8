"""Frames for the metrics' tests: rows as the API's flat columns, and the same frame for every engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import narwhals as nw
import pandas as pd
import polars as pl
import pyarrow as pa

from wxcoupon_analytics.entities.schemas import frame_from_rows, to_table

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOON = datetime(2025, 8, 2, 12, tzinfo=SHANGHAI)
YESTERDAY = datetime(2025, 8, 1, 23, 59, 59, tzinfo=SHANGHAI)

_SHORT = {
    "max_count": "stock_send_rule_max_count",
    "per_day": "stock_send_rule_max_count_per_day",
    "sent": "sent_count_info_total_count",
    "today": "sent_count_info_today_count",
    "codes": "coupon_code_count_info_available_count",
}


def stock(stock_id: str = "s1", **columns: Any) -> dict[str, Any]:
    """A SENDING stock with nothing known but its ids; short names stand for the long columns."""
    return {
        "brand_id": "b1",
        "product_coupon_id": "p1",
        "stock_id": stock_id,
        "state": "SENDING",
        "fetched_at": NOON,
        **{_SHORT.get(name, name): value for name, value in columns.items()},
    }


def product_coupon(product_coupon_id: str = "p1", **columns: Any) -> dict[str, Any]:
    return {"brand_id": "b1", "product_coupon_id": product_coupon_id, "display_info_name": "满200减50", **columns}


def coupon(code: str, state: str | None, fetched_at: datetime = NOON, **columns: Any) -> dict[str, Any]:
    return {
        "brand_id": "b1",
        "stock_id": "s1",
        "coupon_code": code,
        "coupon_state": state,
        "fetched_at": fetched_at,
        **columns,
    }


def stocks(*rows: dict[str, Any]) -> pd.DataFrame:
    return frame_from_rows("stocks", rows)


def product_coupons(*rows: dict[str, Any]) -> pd.DataFrame:
    return frame_from_rows("product_coupons", rows)


def user_coupons(*rows: dict[str, Any]) -> pd.DataFrame:
    return frame_from_rows("user_coupons", rows)


@cache
def _connection(time_zone: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(f"SET TimeZone = '{time_zone}'")  # an engine in any zone gives the same days
    return connection


def to_pandas_of_numpy(table: pa.Table) -> pd.DataFrame:
    """As pandas had it before nullable dtypes: counts with a gap are floats, texts and lists are objects."""
    frame = table.to_pandas()
    texts = frame.select_dtypes(include="string").columns
    return frame.astype(dict.fromkeys(texts, object))


def in_zone(table: pa.Table, time_zone: str) -> pa.Table:
    """Tell the same instants in another zone."""
    fields = [
        field.with_type(pa.timestamp("us", time_zone)) if pa.types.is_timestamp(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


Engine = tuple[Callable[[pa.Table], Any], type]

ENGINES: dict[str, Engine] = {
    "pandas-arrow": (lambda table: table.to_pandas(types_mapper=pd.ArrowDtype), pd.DataFrame),
    "polars": (pl.from_arrow, pl.DataFrame),
    "polars-lazy": (lambda table: pl.from_arrow(table).lazy(), pl.LazyFrame),
    "pyarrow": (lambda table: table, pa.Table),
    "duckdb": (lambda table: _connection("America/New_York").from_arrow(table), duckdb.DuckDBPyRelation),
}
# The same engines holding the same frames in other ways.
VARIANTS: dict[str, Engine] = {
    "pandas-numpy": (to_pandas_of_numpy, pd.DataFrame),
    "pandas-new-york": (lambda table: to_pandas_of_numpy(in_zone(table, "America/New_York")), pd.DataFrame),
    "polars-lazy-utc": (lambda table: pl.from_arrow(in_zone(table, "UTC")).lazy(), pl.LazyFrame),
    "pyarrow-utc": (lambda table: in_zone(table, "UTC"), pa.Table),
    "duckdb-utc": (lambda table: _connection("UTC").from_arrow(table), duckdb.DuckDBPyRelation),
}
HELD_IN_NUMPY = ("pandas-numpy", "pandas-new-york")


def table_of(entity: str | None, frame: pd.DataFrame) -> pa.Table:
    """A frame of an entity as it is stored; one of no entity as it comes."""
    if entity is None:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    return to_table(entity, frame)


def as_engine(engine: str, entity: str | None, frame: pd.DataFrame) -> Any:
    convert, _ = {**ENGINES, **VARIANTS}[engine]
    return convert(table_of(entity, frame))


def rows(result: Any) -> list[dict[str, Any]]:
    """A result of any engine as plain rows, instants in Beijing's zone."""
    frame = nw.from_native(result)
    eager = frame.collect("pyarrow") if isinstance(frame, nw.LazyFrame) else nw.from_native(frame.to_arrow())
    return [{name: _plain(value) for name, value in row.items()} for row in eager.rows(named=True)]


def kinds(result: Any) -> dict[str, str]:
    """The dtypes of a result of any engine, as far as its engine has a choice.

    DuckDB and Spark keep an instant without a zone and show it in the session's; DuckDB's only duration is the INTERVAL,
    and Spark's has no name in Narwhals.
    """
    schema = {name: str(dtype) for name, dtype in nw.from_native(result).collect_schema().items()}
    for name in [name for name, dtype in schema.items() if dtype == "Unknown"]:
        assert result.schema[name].dataType.typeName() == "daytimeinterval"
        schema[name] = "Duration(time_unit='us')"
    return {
        name: re.sub(r"Datetime\(time_unit='.s', time_zone='[^']+'\)", "instant", dtype)
        for name, dtype in schema.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(SHANGHAI)
    if isinstance(value, pa.MonthDayNano):  # DuckDB's only duration is the INTERVAL
        return timedelta(days=value.days, microseconds=value.nanoseconds // 1000)
    return value


def only(result: Any) -> dict[str, Any]:
    [row] = rows(result)
    return row
