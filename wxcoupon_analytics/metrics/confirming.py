"""Which coupons wait for a confirmation that does not come."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrame, IntoFrameT

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.coupons import IDS, open_coupons
from wxcoupon_analytics.metrics.engines import collect, give_back, microseconds
from wxcoupon_analytics.metrics.quota import in_beijing
from wxcoupon_analytics.metrics.states import latest_coupons

_KEPT = (
    "product_coupon_id",
    "stock_id",
    "coupon_code",
    "openid",
    "appid",
    "receive_time",
    "valid_begin_time",
    "valid_end_time",
)


def confirming_age(user_coupons: IntoFrameT, *, now: datetime | None = None) -> IntoFrameT:
    """List the coupons stuck in CONFIRMING: for how long, and how much of their validity has burnt meanwhile.

    A coupon sent by API cannot be used until somebody confirms it, normally the brand's back end within seconds.

    Parameters
    ----------
    user_coupons : frame
        User coupons, current or a history. pandas, Polars (eager or lazy), PyArrow, DuckDB or PySpark; a lazy frame is
        filtered by its own engine, and only the coupons stuck come to this process.
    now : aware datetime, optional
        The moment ages are taken at; the present by default.

    Returns
    -------
    frame
        Of the kind of ``user_coupons``, one row a coupon whose latest reading is CONFIRMING, the longest waiting first.

        ===================================== ======================== ==========================================
        column                                dtype, unit              meaning
        ===================================== ======================== ==========================================
        product_coupon_id, stock_id,          string                   what confirming it takes
        coupon_code, openid, appid
        receive_time, valid_begin_time,       datetime, Asia/Shanghai
        valid_end_time
        age                                   duration                 ``now`` − ``receive_time`` (DuckDB: INTERVAL)
        burnt_share                           Float64, 0–1             how much of the time from ``valid_begin_time``
                                                                       to ``valid_end_time`` has passed; null when it
                                                                       is not known
        as_of                                 datetime, Asia/Shanghai  ``fetched_at`` of the reading: it may have been
                                                                       confirmed since
        ===================================== ======================== ==========================================

    Raises
    ------
    ValidationError
        ``now`` is naive, or on an earlier Beijing day than a coupon was fetched; a column is missing, ids are floats, or
        ``fetched_at`` is not timezone-aware.

    Examples
    --------
    >>> import pandas as pd
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import confirming_age
    >>> coupons = flatten("user_coupons", {"coupon_code": "A", "coupon_state": "CONFIRMING", "stock": {"stock_id": "1"},
    ...     "receive_time": "2026-11-01T00:00:00+08:00", "valid_begin_time": "2026-11-01T00:00:00+08:00",
    ...     "valid_end_time": "2026-11-11T00:00:00+08:00"}, fetched_at=pd.Timestamp("2026-11-03T10:00+08:00"))
    >>> stuck = confirming_age(coupons, now=pd.Timestamp("2026-11-03T12:00+08:00"))
    >>> stuck[["coupon_code", "age", "burnt_share"]].astype(str).values.tolist()
    [['A', '2 days 12:00:00', '0.25']]
    """
    at = in_beijing(now)
    stuck = collect(_stuck(user_coupons), [*_KEPT, "fetched_at"])
    tomorrow = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    later = stuck.filter(nw.col("fetched_at") >= tomorrow)
    if not later.is_empty():
        raise ValidationError(
            f"now={at.isoformat()} is on an earlier Beijing day than a coupon of stock {later['stock_id'][0]!r} was fetched, "
            f'{later["fetched_at"][0].isoformat()}: pass a later now, or store.load("user_coupons", as_of=now)'
        )
    begin, end = nw.col("valid_begin_time"), nw.col("valid_end_time")
    length, passed = ((until - begin).dt.total_seconds().cast(nw.Float64) for until in (end, nw.lit(at)))
    burnt = (
        nw.when(passed <= 0)
        .then(nw.lit(0.0))
        .otherwise(nw.when(passed >= length).then(nw.lit(1.0)).otherwise(passed / length))
    )
    result = (
        stuck.with_columns(
            age=nw.lit(at) - nw.col("receive_time"),
            burnt_share=nw.when((length > 0) & ~passed.is_null()).then(burnt),
        )
        .sort("receive_time", "stock_id", "coupon_code", nulls_last=True)
        .select(*_KEPT, "age", "burnt_share", as_of=nw.col("fetched_at"))
    )
    back: IntoFrameT = give_back(result, user_coupons)
    return back


def _stuck(user_coupons: IntoFrame) -> nw.LazyFrame[Any]:
    """Keep the latest reading of the coupons it shows in CONFIRMING.

    Few are: so the coupons that a later reading shows elsewhere are left out before whole rows are compared.
    """
    frame, key = open_coupons(user_coupons, _KEPT)
    is_waiting = (nw.col("coupon_state") == "CONFIRMING").fill_null(False)
    read = nw.coalesce(microseconds(frame, "fetched_at"), nw.lit(0))
    marked: Any = frame.with_columns(
        waiting=nw.when(is_waiting).then(read), elsewhere=nw.when(~is_waiting).then(read)
    ).with_columns(nw.col("waiting", "elsewhere").max().over(*key))
    waiting, elsewhere = nw.col("waiting"), nw.col("elsewhere")
    # Rows without their ids share a key and no coupon; of two readings in one second the lifecycle decides.
    alone = reduce(or_, (nw.col(name).is_null() for name in IDS))
    left = marked.filter(alone | (~waiting.is_null() & (elsewhere.is_null() | (waiting >= elsewhere))))
    stuck: nw.LazyFrame[Any] = latest_coupons(left, key, _KEPT).filter(nw.col("coupon_state") == "CONFIRMING")
    return stuck
