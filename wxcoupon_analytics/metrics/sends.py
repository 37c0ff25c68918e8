"""How many coupons each stock handed out, day by day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import and_
from typing import Any

import narwhals as nw
from narwhals.dtypes import DType
from narwhals.typing import IntoFrame, IntoFrameT

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.engines import collect, declared, give_back, has_brand, open_frame

# What a history of stocks must have.
COUNTERS: Mapping[str, DType] = {
    "product_coupon_id": nw.String(),
    "stock_id": nw.String(),
    "sent_count_info_total_count": nw.Int64(),
    "sent_count_info_today_count": nw.Int64(),
    "fetched_at": nw.Datetime("us", "Asia/Shanghai"),
}
_TOTAL, _TODAY = "sent_count_info_total_count", "sent_count_info_today_count"


def daily_sends(stock_history: IntoFrameT) -> IntoFrameT:
    """Say how many coupons each stock sent on each day, exactly, from snapshots taken at any hour.

    Parameters
    ----------
    stock_history : frame
        Stocks as they were read time after time, in any order: ``store.history("stocks")``. pandas, Polars (eager or
        lazy), PyArrow, DuckDB or PySpark. Only answers of stock queries: the stock nested in a user coupon is an echo,
        whose counters may be stale.

    Returns
    -------
    frame
        Of the kind of ``stock_history``, one row a stock and known interval, sorted by stock and day.

        ================= ======================== ==============================================================
        column            dtype, unit              meaning
        ================= ======================== ==============================================================
        product_coupon_id string
        stock_id          string
        day               date, Beijing            the interval's first day; null in a stock's first row: everything
                                                   sent before the first day that has a snapshot
        days_covered      Int64, days              how many days the interval has: days without a snapshot join the
                                                   interval before them; null in the first row
        sends             Int64, coupons           sent in the interval; null when ``anomaly``
        sends_at_least    Int64, coupons           the last ``today_count`` seen on ``day``; null in the first row
        complete          boolean                  false in a stock's last row only, its running day
        anomaly           boolean                  the counters went backwards: see Notes
        as_of             datetime, Asia/Shanghai  ``fetched_at`` of the latest snapshot the row rests on
        ================= ======================== ==============================================================

    Raises
    ------
    ValidationError
        A column is missing or cannot be what it should (ids that are floats, counts that are no numbers), ``fetched_at``
        is not timezone-aware, or a row does not say when it was fetched.

    Notes
    -----
    With *total* and *today* of a stock's ``sent_count_info``, ``start = total − today`` is the total at that day's Beijing
    midnight, whatever the hour of the snapshot. So what was sent between the midnights of two days with snapshots is the
    difference of their starts: no sum is divided among days, and none is estimated. Of several snapshots in a day the last
    counts. A stock's ``sends`` add up to its last ``total_count``, unless there is an anomaly.

    A start below the last total seen before it (or below 0) is an anomaly, never negative sends. Rows that lack an id or a
    counter, or have one below 0, say nothing and are left out. Stocks are told apart by ``brand_id`` too, when the frame has it.

    Examples
    --------
    >>> import pandas as pd
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import daily_sends
    >>> def snapshot(at, total, today):
    ...     stock = {"product_coupon_id": "7", "stock_id": "1", "sent_count_info": {"total_count": total, "today_count": today}}
    ...     return flatten("stocks", stock, fetched_at=pd.Timestamp(at))
    >>> history = pd.concat([snapshot("2026-11-01T10:00+08:00", 30, 5), snapshot("2026-11-02T23:00+08:00", 50, 12)])
    >>> sends = daily_sends(history)
    >>> sends["sends"].tolist(), sends["complete"].tolist()
    ([25, 13, 12], [True, True, False])
    """
    result = known_intervals(last_readings(stock_history)).select(
        "product_coupon_id",
        "stock_id",
        "day",
        "days_covered",
        "sends",
        "sends_at_least",
        "complete",
        "anomaly",
        "as_of",
    )
    back: IntoFrameT = give_back(result, stock_history)
    return back


def last_readings(
    stock_history: IntoFrame, more: Mapping[str, DType] | None = None, *, until: datetime | None = None
) -> nw.DataFrame[Any]:
    """Keep the last reading of every stock and Beijing day, in order, with the day; `more` columns come along."""
    return ordered_readings(stock_history, more, until=until).filter(~same_as_next([*STOCK, "day"]))


def ordered_readings(
    stock_history: IntoFrame, more: Mapping[str, DType] | None = None, *, until: datetime | None = None
) -> nw.DataFrame[Any]:
    """Put the readings of every stock in order, with the Beijing day of each; `more` columns come along."""
    branded = has_brand(stock_history)
    columns: dict[str, DType] = {"brand_id": nw.String(), **COUNTERS, **(more or {})}
    if not branded:
        del columns["brand_id"]
    given = collect(open_frame(stock_history, entity="stocks", needs=columns), list(columns))
    frame = given.with_columns(declared(given[name], dtype, entity="stocks") for name, dtype in columns.items())
    undated = frame.filter(nw.col("fetched_at").is_null())
    if not undated.is_empty():
        raise ValidationError(
            f"fetched_at is null for stock {undated['stock_id'][0]!r}, so the day of its counters is not known: "
            'pass store.history("stocks")'
        )
    # Null is a brand of its own, and what is compared with a neighbour must not be null.
    brand = nw.col("brand_id").fill_null("") if branded else nw.lit("")
    counted = frame.drop_nulls(["product_coupon_id", "stock_id", _TOTAL, _TODAY]).filter(nw.col(_TOTAL, _TODAY) >= 0)
    known = counted.with_columns(brand_id=brand, day=nw.col("fetched_at").dt.replace_time_zone(None).dt.date())
    if until is not None:
        known = known.filter(nw.col("fetched_at") <= until)
    return known.sort(*STOCK, "fetched_at", _TOTAL, _TODAY)


STOCK: Sequence[str] = ("brand_id", "product_coupon_id", "stock_id")


def same_as_next(columns: Sequence[str]) -> nw.Expr:
    """Tell whether the next row of an ordered frame has the same values; the last row has no next."""
    return reduce(and_, ((nw.col(name) == nw.col(name).shift(-1)).fill_null(False) for name in columns))


def known_intervals(readings: nw.DataFrame[Any]) -> nw.DataFrame[Any]:
    """Take what was sent between the readings' midnights; columns of the readings stay, those of an interval's first day."""
    start, total = nw.col("start"), nw.col(_TOTAL)
    days = readings.with_columns(
        start=total - nw.col(_TODAY), number=nw.col("day").cast(nw.Int32).cast(nw.Int64), goes_on=same_as_next(STOCK)
    )
    days = days.with_columns(
        next_start=start.shift(-1),
        days_covered=nw.col("number").shift(-1) - nw.col("number"),
        next_as_of=nw.col("fetched_at").shift(-1),
        is_first=~nw.col("goes_on").shift(1).fill_null(False),
    )
    before = days.filter(nw.col("is_first")).with_columns(
        day=nw.lit(None, nw.Date),
        days_covered=nw.lit(None, nw.Int64),
        sends=start,
        sends_at_least=nw.lit(None, nw.Int64),
        complete=nw.lit(True),
        anomaly=start < 0,
        as_of=nw.col("fetched_at"),
    )
    between = days.filter(nw.col("goes_on")).with_columns(
        sends=nw.col("next_start") - start,
        sends_at_least=nw.col(_TODAY),
        complete=nw.lit(True),
        anomaly=nw.col("next_start") < total,
        as_of=nw.col("next_as_of"),
    )
    running = days.filter(~nw.col("goes_on")).with_columns(
        days_covered=nw.lit(1, nw.Int64),
        sends=nw.col(_TODAY),
        sends_at_least=nw.col(_TODAY),
        complete=nw.lit(False),
        anomaly=nw.lit(False),
        as_of=nw.col("fetched_at"),
    )
    columns = [
        *dict.fromkeys([*readings.columns, "days_covered", "sends", "sends_at_least", "complete", "anomaly", "as_of"])
    ]
    parts = [part.select(*columns) for part in (before, between, running)]
    return (
        nw.concat(parts)
        .with_columns(sends=nw.when(~nw.col("anomaly")).then(nw.col("sends")))
        .sort(*STOCK, "day", nulls_last=False)
    )
