"""How much of each stock's budget is handed out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
from narwhals.dtypes import DType
from narwhals.typing import IntoFrame, IntoFrameT

from wxcoupon_analytics.metrics import discount
from wxcoupon_analytics.metrics.engines import collect_entity, give_back, has_brand

# What a frame of stocks must have.
STOCKS: Mapping[str, DType] = {
    "product_coupon_id": nw.String(),
    "stock_id": nw.String(),
    "remark": nw.String(),
    "state": nw.String(),
    "stock_send_rule_max_count": nw.Int64(),
    "stock_send_rule_max_count_per_day": nw.Int64(),
    "sent_count_info_total_count": nw.Int64(),
    "sent_count_info_today_count": nw.Int64(),
    "fetched_at": nw.Datetime("us", "Asia/Shanghai"),
    **discount.STOCK_COLUMNS,
}
_PRODUCT_COUPONS: Mapping[str, DType] = {
    "product_coupon_id": nw.String(),
    "display_info_name": nw.String(),
    **discount.PRODUCT_COUPON_COLUMNS,
}


def budget_use(stocks: IntoFrameT, product_coupons: IntoFrame | None = None) -> IntoFrameT:
    """Say how much of each stock's budget is handed out, in coupons and in fen.

    Handed out is not redeemed, and face value is not spend: for those see the user coupons.

    Parameters
    ----------
    stocks : frame
        The current stocks, one row each: ``store.load("stocks")`` or ``client.fetch.stocks(…)``. pandas, Polars (eager
        or lazy), PyArrow, DuckDB or PySpark, whose columns needed here are collected to this process: stocks are few.
    product_coupons : frame, optional
        The product coupons they belong to, of any engine. Without them, and for a stock whose product coupon is not
        among them, ``name`` is null and the discount is known only when the stock itself carries exactly one rule.

    Returns
    -------
    frame
        Of the kind of ``stocks``, one row a stock, in the order they came (a DuckDB relation has none).

        ================== ============================ ========================================================
        column             dtype, unit                  meaning
        ================== ============================ ========================================================
        product_coupon_id  string
        stock_id           string
        name               string                       ``display_info_name`` of the product coupon
        remark             string
        state              string
        max_count          Int64, coupons               the budget
        sent_count         Int64, coupons               ``sent_count_info_total_count``
        remaining_count    Int64, coupons               max(``max_count`` − ``sent_count``, 0)
        sent_share         Float64, 0–1 (more if        ``sent_count`` / ``max_count``; null when ``max_count`` is
                           oversent)                    0 or missing
        max_count_per_day  Int64, coupons               null: no daily limit
        sent_today         Int64, coupons               ``sent_count_info_today_count``: of the Beijing day of
                                                        ``as_of``, not of today
        discount_fen       Int64, fen a coupon          see Notes; null when unknown
        discount_basis     string                       fixed, at_threshold, price_difference or unknown
        sent_value_fen     Int64, fen                   ``discount_fen`` × ``sent_count``: face value in users'
                                                        hands, never spend
        budget_value_fen   Int64, fen                   ``discount_fen`` × ``max_count``; a value beyond int64 is null
        as_of              datetime, Asia/Shanghai      ``fetched_at`` of the row
        ================== ============================ ========================================================

    Raises
    ------
    ValidationError
        A column is missing or cannot be what it should (ids that are floats, counts that are no numbers),
        ``fetched_at`` is not timezone-aware, or a frame holds several rows of one stock or one product coupon (a
        history).

    Notes
    -----
    The discount is the rule of the product coupon's own ``type``. With ``usage_mode`` SINGLE it is the stock's
    ``single_usage_rule``, else the product coupon's ``single_usage_info``:

    - NORMAL, basis ``fixed``: ``discount_amount``. A ceiling, for a user may pay less than that.
    - DISCOUNT, basis ``at_threshold``: ``threshold × percent_off // 100``, the least it can cost. A floor. Unknown when
      the threshold is 0.
    - EXCHANGE, basis ``price_difference``: ``original_price − exchange_price``. Unknown when the price is not known.

    A SEQUENTIAL coupon is one coupon of several uses, worth the sum over the stock's rule list; unknown if any of its
    uses is. Of a PROGRESSIVE_BUNDLE each stock is one step with its own rule: values add up over the bundle, send counts
    do not. A usage mode or type the API invents later is unknown. Ceilings and floors must not be added to each other:
    total by ``discount_basis``.

    Product coupons are matched on ``product_coupon_id`` and, when both frames have it, ``brand_id``. A null brand
    matches only a null one: two brands' ids never mix.

    Examples
    --------
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import budget_use
    >>> stocks = flatten("stocks", {
    ...     "product_coupon_id": "1000000013", "stock_id": "1000000013001", "state": "SENDING",
    ...     "stock_send_rule": {"max_count": 1000}, "sent_count_info": {"total_count": 250, "today_count": 10},
    ...     "single_usage_rule": {"normal_coupon": {"threshold": 20000, "discount_amount": 5000}},
    ... })
    >>> use = budget_use(stocks)
    >>> use[["sent_count", "remaining_count", "sent_share", "sent_value_fen", "discount_basis"]].to_dict("records")
    [{'sent_count': 250, 'remaining_count': 750, 'sent_share': 0.25, 'sent_value_fen': 1250000,
      'discount_basis': 'fixed'}]
    """
    brand: dict[str, DType] = {"brand_id": nw.String()} if has_brand(stocks) else {}
    frame = collect_entity(stocks, {**brand, **STOCKS}, entity="stocks", key=[*brand, "product_coupon_id", "stock_id"])
    rows = frame.rows(named=True)
    found = _product_coupon_of(rows, stocks, product_coupons)
    discounts = [discount.discount_of(row, coupon) for row, coupon in zip(rows, found, strict=True)]
    sent_counts, limits = frame["sent_count_info_total_count"].to_list(), frame["stock_send_rule_max_count"].to_list()
    # Worked out in Python, whose integers neither wrap around nor end where a float's digits do.
    added = nw.from_dict(
        {
            "name": [coupon and coupon["display_info_name"] for coupon in found],
            "discount_fen": [each.fen for each in discounts],
            "discount_basis": [each.basis for each in discounts],
            "sent_share": [
                None if count is None or limit is None or limit <= 0 else count / limit
                for count, limit in zip(sent_counts, limits, strict=True)
            ],
            "sent_value_fen": _values(discounts, sent_counts),
            "budget_value_fen": _values(discounts, limits),
        },
        {
            "name": nw.String(),
            "discount_fen": nw.Int64(),
            "discount_basis": nw.String(),
            "sent_share": nw.Float64(),
            "sent_value_fen": nw.Int64(),
            "budget_value_fen": nw.Int64(),
        },
        backend="pyarrow",
    )
    sent, limit = nw.col("sent_count_info_total_count"), nw.col("stock_send_rule_max_count")
    result = nw.concat([frame, added], how="horizontal").select(
        "product_coupon_id",
        "stock_id",
        "name",
        "remark",
        "state",
        max_count=limit,
        sent_count=sent,
        remaining_count=remaining(limit, sent),
        sent_share=nw.col("sent_share"),
        max_count_per_day=nw.col("stock_send_rule_max_count_per_day"),
        sent_today=nw.col("sent_count_info_today_count"),
        discount_fen=nw.col("discount_fen"),
        discount_basis=nw.col("discount_basis"),
        sent_value_fen=nw.col("sent_value_fen"),
        budget_value_fen=nw.col("budget_value_fen"),
        as_of=nw.col("fetched_at"),
    )
    back: IntoFrameT = give_back(result, stocks)
    return back


def remaining(limit: nw.Expr, used: nw.Expr) -> nw.Expr:
    """What is left of a limit: never below 0 (limits can be lowered under what was sent), null if either is unknown."""
    left = limit - used
    # Arrow's integers wrap around in silence. A limit below 0 leaves nothing; a rest beyond all numbers is not known.
    none_left = (left < 0) | ((limit < 0) & (used >= 0))
    too_much = (limit >= 0) & (used < 0) & (left < 0)
    return (  # clip turns null into its bound in older Narwhals
        nw.when(~too_much).then(nw.when(none_left).then(nw.lit(0)).otherwise(left))
    )


def _values(discounts: list[discount.Discount], counts: list[int | None]) -> list[int | None]:
    return [
        None if each.fen is None or count is None else discount.storable(each.fen * count)
        for each, count in zip(discounts, counts, strict=True)
    ]


def _product_coupon_of(
    rows: list[dict[str, Any]], stocks: IntoFrame, product_coupons: IntoFrame | None
) -> list[dict[str, Any] | None]:
    """Look up each stock's product coupon, within its brand when both frames name one; None where there is none."""
    if product_coupons is None:
        return [None] * len(rows)
    brand: dict[str, DType] = {"brand_id": nw.String()} if has_brand(stocks, product_coupons) else {}
    key = [*brand, "product_coupon_id"]
    frame = collect_entity(product_coupons, {**brand, **_PRODUCT_COUPONS}, entity="product_coupons", key=key)
    named = frame.drop_nulls(["product_coupon_id"])
    by_key = {tuple(row[name] for name in key): row for row in named.iter_rows(named=True)}
    return [by_key.get(tuple(row[name] for name in key)) for row in rows]
