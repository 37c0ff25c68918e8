"""Small frames to store."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa

from wxcoupon_analytics.entities.schemas import frame_from_rows, to_table
from wxcoupon_analytics.snapshots import Merged, SnapshotStore

BEIJING = ZoneInfo("Asia/Shanghai")


def at(day: int, hour: int = 10, month: int = 11) -> dt.datetime:
    return dt.datetime(2026, month, day, hour, tzinfo=BEIJING)


def stock(stock_id: str = "70", *, fetched_at: dt.datetime | None = None, **fields: object) -> dict[str, object]:
    return {"brand_id": "1", "product_coupon_id": "7", "stock_id": stock_id, "fetched_at": fetched_at, **fields}


def stocks(*rows: dict[str, object]) -> pd.DataFrame:
    return frame_from_rows("stocks", rows)


def coupon(
    code: str, state: str | None = "EFFECTIVE", *, who: str = "o1", when: dt.datetime | None = None, **fields: object
) -> dict[str, object]:
    return {
        "brand_id": "1",
        "stock_id": "70",
        "product_coupon_id": "7",
        "coupon_code": code,
        "coupon_state": state,
        "openid": who,
        "appid": "wx1",
        "fetched_at": when,
        **fields,
    }


def coupons(*rows: dict[str, object]) -> pd.DataFrame:
    return frame_from_rows("user_coupons", rows)


def answers(*rows: dict[str, object]) -> pa.Table:
    return to_table("user_coupons", coupons(*rows))


def merge(
    store: SnapshotStore,
    day: int,
    *rows: dict[str, object],
    asked: list[str] | dict[str, dt.datetime],
    fetch_id: str | None = None,
    complete: bool = True,
    **filters: str,
) -> Merged:
    """Merge a part that was fetched at 10 o'clock of a day."""
    rows = tuple({**row, "fetched_at": row["fetched_at"] or at(day)} for row in rows)
    return store.merge(
        answers(*rows),
        appid="wx1",
        asked=asked,
        filters=filters,
        fetch_id=fetch_id or f"fetch-{day}",
        started_at=at(day, 9),
        complete=complete,
        brand_id="1",
    )


def states(store: SnapshotStore, **options: object) -> dict[str, str | None]:
    frame = store.load("user_coupons", columns=["coupon_code", "coupon_state"], **options)
    return {code: None if pd.isna(state) else state for code, state in frame.itertuples(index=False)}


def seen(store: SnapshotStore, **options: object) -> dict[str, int]:
    """The day each coupon was last seen."""
    frame = store.load("user_coupons", columns=["coupon_code", "fetched_at", "fetched_day"], **options)
    assert (frame["fetched_at"].dt.date == frame["fetched_day"].astype(object)).all()
    return dict(zip(frame["coupon_code"], frame["fetched_at"].dt.day, strict=True))
