"""What a stock and its product coupon say about sending now: whether at all, how many, and with which codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from wxcoupon_analytics.api import Api
from wxcoupon_analytics.entities.flatten import flatten
from wxcoupon_analytics.metrics.budget import budget_use
from wxcoupon_analytics.metrics.quota import remaining_daily_quota
from wxcoupon_analytics.wire.validation.fields import instant

Json = Mapping[str, Any]
_LIMITS = {"total": "budget (max_count)", "daily": "daily limit (max_count_per_day)", "codes": "pool of uploaded codes"}


@dataclass(frozen=True, slots=True)
class Offer:
    """A stock as it was fetched: ``problem`` says why nothing of it can be sent, ``left`` how much can be today.

    ``left`` is None where no limit is known. ``binding`` names what sets it; ``total_left``, ``daily_left`` and
    ``codes_left`` are the parts of it.
    """

    stock: Json
    product_coupon: Json
    problem: str | None
    left: int | None
    binding: str | None
    total_left: int | None
    daily_left: int | None
    codes_left: int | None
    discount_fen: int | None
    discount_basis: str

    @property
    def mode(self) -> str | None:
        """Who makes the coupon codes (券Code分配模式): WECHATPAY, UPLOAD or API_ASSIGN."""
        return self.stock.get("coupon_code_mode")

    @property
    def per_user(self) -> int | None:
        """How many coupons of the stock a user may get in all, from wherever."""
        limit = (self.stock.get("stock_send_rule") or {}).get("max_count_per_user")
        return limit if isinstance(limit, int) else None

    @property
    def name(self) -> str:
        """What users see."""
        return str((self.product_coupon.get("display_info") or {}).get("name") or "")

    def spent(self) -> str:
        """Say which limit nothing is left of, or that only so many could go out."""
        return f"beyond the stock's {_LIMITS.get(self.binding or '', self.binding)}: {self.left} could be sent"


def fetch_offer(api: Api, product_coupon_id: str, stock_id: str, now: datetime) -> Offer:
    """Fetch a stock and its product coupon, and see what they allow."""
    product_coupon = api.get_product_coupon(product_coupon_id)
    stock = api.get_stock(product_coupon_id, stock_id)
    stocks = flatten("stocks", stock, fetched_at=now)
    use = budget_use(stocks, flatten("product_coupons", product_coupon, fetched_at=now)).iloc[0]
    quota = remaining_daily_quota(stocks, now=now).iloc[0]
    return Offer(
        stock,
        product_coupon,
        problem_of(stock, product_coupon, now),
        _whole(quota["sendable_today"]),
        None if pd.isna(quota["binding_limit"]) else str(quota["binding_limit"]),
        _whole(quota["total_left"]),
        _whole(quota["daily_left"]),
        _whole(quota["codes_left"]),
        _whole(use["discount_fen"]),
        str(use["discount_basis"]),
    )


def problem_of(stock: Json, product_coupon: Json, now: datetime) -> str | None:
    """Say why nothing of a stock can be sent at present; None when something can."""
    if product_coupon.get("usage_mode") == "PROGRESSIVE_BUNDLE" or stock.get("stock_bundle_info"):
        return "the stock is one step of a bundle: bundles are sent whole, with client.api.send_coupon_bundle"
    if (state := product_coupon.get("state")) != "EFFECTIVE":
        return f"the product coupon is {state}: coupons are sent only while it is EFFECTIVE"
    if (state := stock.get("state")) != "SENDING":
        return f"the stock is {state}: coupons are sent only while it is SENDING"
    if (end := _valid_until(stock)) is not None and end <= now:
        return f"the stock's coupons were valid until {end.isoformat()}: one sent now could not be used"
    return None


def _valid_until(stock: Json) -> datetime | None:
    """Give the last moment a coupon of a stock is valid, as far as its rules say it."""
    ends = [
        instant(period.get("available_end_time"))
        for rule in stock.values()
        if isinstance(rule, Mapping) and isinstance(period := rule.get("coupon_available_period"), Mapping)
    ]
    return max((end for end in ends if end is not None), default=None)


def _whole(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)
