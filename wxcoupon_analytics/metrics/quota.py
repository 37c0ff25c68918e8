"""How many coupons a stock can still send today."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import narwhals as nw
from narwhals.dtypes import DType
from narwhals.typing import IntoFrameT

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.budget import remaining
from wxcoupon_analytics.metrics.engines import SHANGHAI, collect_entity, give_back, has_brand

# What a frame of stocks must have.
STOCKS: Mapping[str, DType] = {
    "product_coupon_id": nw.String(),
    "stock_id": nw.String(),
    "state": nw.String(),
    "coupon_code_mode": nw.String(),
    "coupon_code_count_info_available_count": nw.Int64(),
    "stock_send_rule_max_count": nw.Int64(),
    "stock_send_rule_max_count_per_day": nw.Int64(),
    "sent_count_info_total_count": nw.Int64(),
    "sent_count_info_today_count": nw.Int64(),
    "fetched_at": nw.Datetime("us", "Asia/Shanghai"),
}


def remaining_daily_quota(stocks: IntoFrameT, *, now: datetime | None = None) -> IntoFrameT:
    """Say how many coupons each stock can still send today, and which limit binds.

    It is an upper bound as of ``as_of``: whatever was sent since is not known here.

    Parameters
    ----------
    stocks : frame
        The current stocks, one row each: ``store.load("stocks")`` or ``client.fetch.stocks(…)``. pandas, Polars (eager
        or lazy), PyArrow, DuckDB or PySpark, whose columns needed here are collected to this process: stocks are few.
    now : aware datetime, optional
        The moment "today" is meant at; the present by default. Days are Beijing days.

    Returns
    -------
    frame
        Of the kind of ``stocks``, one row a stock, in the order they came (a DuckDB relation has none).

        ================== ============================ ========================================================
        column             dtype, unit                  meaning
        ================== ============================ ========================================================
        product_coupon_id  string
        stock_id           string
        state              string
        daily_left         Int64, coupons               ``max_count_per_day`` less today's count, never below 0;
                                                        the whole of it when ``stale``; null: no daily limit
        total_left         Int64, coupons               max(``max_count`` − sent, 0); null when either is unknown
        codes_left         Int64, codes                 unused codes of an UPLOAD stock, else null
        sendable_today     Int64, coupons               the least of these not null; 0 unless ``state`` is SENDING;
                                                        null when SENDING and none is known
        binding_limit      string                       which it is: state, daily, total, codes (ties in that order)
        stale              boolean                      fetched on an earlier Beijing day than ``now``'s, so that the
                                                        day's counter has restarted since
        age                duration                     ``now`` − ``as_of`` (DuckDB: an INTERVAL); below 0 when the
                                                        platform's clock is ahead
        resets_at          datetime, Asia/Shanghai      the next Beijing midnight after ``now``
        as_of              datetime, Asia/Shanghai      ``fetched_at`` of the row
        ================== ============================ ========================================================

    Raises
    ------
    ValidationError
        ``now`` is naive, or on an earlier Beijing day than a row was fetched; a row does not say when it was fetched;
        a column is missing or cannot be what it should (ids that are floats, counts that are no numbers); or the frame
        holds several rows of one stock (a history).

    Notes
    -----
    ``stale`` is a fact about the row, so it is true for stocks without a daily limit too: their other numbers are
    yesterday's as well. A state that is not known is not SENDING. A stock whose ``today_count`` is missing has no known
    ``daily_left``, although it has a limit.

    Examples
    --------
    >>> from datetime import datetime
    >>> from zoneinfo import ZoneInfo
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import remaining_daily_quota
    >>> noon = datetime(2025, 8, 2, 12, tzinfo=ZoneInfo("Asia/Shanghai"))
    >>> stocks = flatten("stocks", {
    ...     "product_coupon_id": "1000000013", "stock_id": "1000000013001", "state": "SENDING",
    ...     "stock_send_rule": {"max_count": 1000, "max_count_per_day": 100},
    ...     "sent_count_info": {"total_count": 250, "today_count": 10},
    ... }).assign(fetched_at=noon)
    >>> left = remaining_daily_quota(stocks, now=noon)
    >>> left[["daily_left", "total_left", "sendable_today", "binding_limit", "stale"]].to_dict("records")
    [{'daily_left': 90, 'total_left': 750, 'sendable_today': 90, 'binding_limit': 'daily', 'stale': False}]
    """
    moment = in_beijing(now)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    brand: dict[str, DType] = {"brand_id": nw.String()} if has_brand(stocks) else {}
    frame = collect_entity(stocks, {**brand, **STOCKS}, entity="stocks", key=[*brand, "product_coupon_id", "stock_id"])
    _check_fetch_times(frame, moment, tomorrow=midnight + timedelta(days=1))

    per_day = nw.col("stock_send_rule_max_count_per_day")
    is_stale, is_sending = nw.col("fetched_at") < midnight, (nw.col("state") == "SENDING").fill_null(False)
    limits = frame.with_columns(
        daily_left=nw.when(is_stale)
        .then(remaining(per_day, nw.lit(0)))
        .otherwise(remaining(per_day, nw.col("sent_count_info_today_count"))),
        total_left=remaining(nw.col("stock_send_rule_max_count"), nw.col("sent_count_info_total_count")),
        codes_left=nw.when(nw.col("coupon_code_mode") == "UPLOAD").then(
            nw.col("coupon_code_count_info_available_count")
        ),
    )
    least = nw.min_horizontal("daily_left", "total_left", "codes_left")
    result = limits.with_columns(
        sendable_today=nw.when(is_sending).then(least).otherwise(nw.lit(0)),
    ).select(
        "product_coupon_id",
        "stock_id",
        "state",
        "daily_left",
        "total_left",
        "codes_left",
        "sendable_today",
        binding_limit=nw.when(~is_sending)
        .then(nw.lit("state"))
        .otherwise(
            nw.when(_binds("daily_left"))
            .then(nw.lit("daily"))
            .otherwise(
                nw.when(_binds("total_left"))
                .then(nw.lit("total"))
                .otherwise(nw.when(_binds("codes_left")).then(nw.lit("codes")))
            )
        ),
        stale=is_stale,
        age=nw.lit(moment) - nw.col("fetched_at"),
        resets_at=nw.lit(midnight + timedelta(days=1)),
        as_of=nw.col("fetched_at"),
    )
    back: IntoFrameT = give_back(result, stocks)
    return back


def _binds(limit: str) -> nw.Expr:
    return (nw.col(limit) == nw.col("sendable_today")).fill_null(False)


def in_beijing(now: datetime | None) -> datetime:
    """Read a moment in Beijing's zone: its date is the quota day."""
    if now is None:
        return datetime.now(SHANGHAI)
    if now.utcoffset() is None:
        raise ValidationError(
            f"now={now!r} names no time zone, so its Beijing day is not known: "
            'give datetime(…, tzinfo=ZoneInfo("Asia/Shanghai")) or datetime.now(ZoneInfo("Asia/Shanghai"))'
        )
    return now.astimezone(SHANGHAI)


def _check_fetch_times(frame: nw.DataFrame[Any], now: datetime, *, tomorrow: datetime) -> None:
    """Refuse rows whose day is not known or is yet to come: their counters say nothing about today."""
    undated = frame.filter(nw.col("fetched_at").is_null())
    if not undated.is_empty():
        raise ValidationError(
            f"fetched_at is null for stock {undated['stock_id'][0]!r}, so the day of its today_count is not known: "
            'pass store.load("stocks") or client.fetch.stocks(…)'
        )
    later = frame.filter(nw.col("fetched_at") >= tomorrow)
    if not later.is_empty():
        raise ValidationError(
            f"now={now.isoformat()} is on an earlier Beijing day than stock {later['stock_id'][0]!r} was fetched, "
            f'{later["fetched_at"][0].isoformat()}: pass a later now, or store.load("stocks", as_of=now)'
        )
