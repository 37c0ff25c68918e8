"""How many of the coupons sent we know of."""

from __future__ import annotations

import narwhals as nw
from narwhals.dtypes import DType
from narwhals.typing import IntoFrame, IntoFrameT

from wxcoupon_analytics.metrics.coupons import open_coupons
from wxcoupon_analytics.metrics.engines import collect, collect_entity, give_back, has_brand, microseconds
from wxcoupon_analytics.metrics.joining import LINK, link, look_up, with_link
from wxcoupon_analytics.metrics.states import latest_coupons

_STOCKS: dict[str, DType] = {
    "product_coupon_id": nw.String(),
    "stock_id": nw.String(),
    "sent_count_info_total_count": nw.Int64(),
    "fetched_at": nw.Datetime("us", "Asia/Shanghai"),
}


def coverage(user_coupons: IntoFrameT, stocks: IntoFrame) -> IntoFrameT:
    """Say which share of each stock's coupons sent are among the user coupons we know of.

    No endpoint lists all coupons of a stock, so every share over user coupons is over those known; this says how many that
    is, and belongs beside each of them.

    Parameters
    ----------
    user_coupons : frame
        User coupons, current or a history. pandas, Polars (eager or lazy), PyArrow, DuckDB or PySpark; a lazy frame is
        counted by its own engine.
    stocks : frame
        The current stocks, one row each, of any engine.

    Returns
    -------
    frame
        Of the kind of ``user_coupons``, one row a stock, sorted; stocks that only the coupons name come too.

        ================= ======================== ==============================================================
        column            dtype, unit              meaning
        ================= ======================== ==============================================================
        product_coupon_id string                   null for a stock that only the coupons name
        stock_id          string
        known_count       Int64, coupons           distinct coupons known, but for those received after ``as_of``;
                                                   also those that are not there any more
        sent_count        Int64, coupons           ``sent_count_info_total_count``
        coverage          Float64, 0–1             ``known_count`` / ``sent_count``; null when nothing was sent, or that is
                                                   not known. More than 1 when the platform's counter lags
        as_of             datetime, Asia/Shanghai  ``fetched_at`` of the stock, at which its counter stood so; null when
                                                   the stock is not known
        ================= ======================== ==============================================================

    Raises
    ------
    ValidationError
        A column is missing, ids are floats, ``fetched_at`` is not timezone-aware, or ``stocks`` has several rows of one
        stock (a history).

    Examples
    --------
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import coverage
    >>> coupons = flatten("user_coupons", [{"coupon_code": code, "stock": {"stock_id": "1"}} for code in "AB"])
    >>> stocks = flatten("stocks", {"product_coupon_id": "7", "stock_id": "1", "sent_count_info": {"total_count": 8}})
    >>> coverage(coupons, stocks)[["known_count", "sent_count", "coverage"]].to_dict("records")
    [{'known_count': 2, 'sent_count': 8, 'coverage': 0.25}]
    """
    branded = has_brand(user_coupons, stocks)
    key = ["brand_id", "stock_id"] if branded else ["stock_id"]
    columns: dict[str, DType] = {"brand_id": nw.String(), **_STOCKS} if branded else _STOCKS
    table = collect_entity(stocks, columns, entity="stocks", key=key)
    sent = with_link(table, "stock_id", branded=branded, entity="stocks")

    frame, coupon_key = open_coupons(user_coupons, ["receive_time"])
    coupons = latest_coupons(frame, coupon_key, [*key, "receive_time"])
    counted_at = look_up(coupons, sent.select(LINK, counted_at="fetched_at"), "stock_id", branded=branded)
    received, counted = microseconds(counted_at, "receive_time"), microseconds(counted_at, "counted_at")
    is_later = (received > counted).fill_null(False)
    known = collect(
        counted_at.filter(~is_later & ~nw.col("stock_id").is_null())
        .with_columns(nw.col("stock_id").cast(nw.String), link("stock_id", branded=branded).alias(LINK))
        .group_by("stock_id", LINK)
        .agg(nw.len().alias("known_count")),
        ["stock_id", LINK, "known_count"],
    ).with_columns(nw.col("known_count").cast(nw.Int64))
    of_stocks = look_up(sent, known.drop("stock_id"), "stock_id", branded=branded)
    counted_stocks = set(sent[LINK].to_list())
    is_other = [each not in counted_stocks for each in known[LINK].to_list()]
    of_others = known.filter(nw.new_series("", is_other, nw.Boolean(), backend="pyarrow")).with_columns(
        nw.lit(None, dtype).alias(name) for name, dtype in _STOCKS.items() if name != "stock_id"
    )
    count, all_sent = nw.col("known_count"), nw.col("sent_count")
    result = (
        nw.concat(
            [
                part.select(*(nw.col(name).cast(dtype) for name, dtype in _STOCKS.items()), "known_count")
                for part in (of_stocks, of_others)
            ]
        )
        .select(
            "product_coupon_id",
            "stock_id",
            known_count=nw.when(~count.is_null()).then(count).otherwise(nw.lit(0, nw.Int64)),
            sent_count=nw.col("sent_count_info_total_count"),
            as_of=nw.col("fetched_at"),
        )
        .with_columns(coverage=nw.when(all_sent > 0).then(count.cast(nw.Float64) / all_sent.cast(nw.Float64)))
        .select("product_coupon_id", "stock_id", "known_count", "sent_count", "coverage", "as_of")
        .sort("product_coupon_id", "stock_id", nulls_last=True)
    )
    back: IntoFrameT = give_back(result, user_coupons)
    return back
