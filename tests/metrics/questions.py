"""Every public metric asked something, over frames that hold its odd cases: what all engines must answer alike.

A new metric is covered everywhere, Spark included, by a line in `QUESTIONS`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

import narwhals as nw
import pandas as pd

import wxcoupon_analytics as wx
from tests.metrics.frames import (
    NOON,
    SHANGHAI,
    YESTERDAY,
    coupon,
    product_coupon,
    product_coupons,
    stock,
    stocks,
    user_coupons,
)


class Of(Protocol):
    """Gives an entity's frame (None: a frame of no entity) in the engine that is asked."""

    def __call__(self, entity: str | None, frame: pd.DataFrame, /) -> Any: ...


LIFECYCLE = ["CONFIRMING", "PENDING", "EFFECTIVE", "USED", "EXPIRED", "DELETED", "DEACTIVATED", "NEW", None]
# At three in the morning in Beijing it is yesterday in Greenwich and New York: a day cut there would be wrong.
EARLY = datetime(2025, 8, 2, 3, tzinfo=SHANGHAI)

STOCKS = stocks(
    stock(
        "s1",
        max_count=1000,
        sent=250,
        per_day=10,
        today=3,
        remark="一",
        single_usage_rule_normal_coupon_discount_amount=5,
        fetched_at=EARLY - timedelta(hours=1),
    ),
    stock("s2", max_count=0, sent=1, state="PAUSED", fetched_at=EARLY - timedelta(days=2)),
    stock(
        "s3",
        product_coupon_id="p2",
        coupon_code_mode="UPLOAD",
        codes=4,
        sequential_usage_rule_discount_coupon_list=[
            {"threshold": 999, "percent_off": 15},
            {"threshold": 5, "percent_off": 50},
        ],
    ),
    stock("s4", product_coupon_id="p9", state=None),
    stock("s5", per_day=10, today=10, sent=10, max_count=20, fetched_at=YESTERDAY),
)
COUPONS = product_coupons(
    product_coupon("p1", type="NORMAL", usage_mode="SINGLE"),
    product_coupon("p2", type="DISCOUNT", usage_mode="SEQUENTIAL", display_info_name="折"),
)


def _history() -> pd.DataFrame:
    """Snapshots of two stocks at hours on both sides of midnight, with days left out and a counter that went back."""
    totals = {"s1": [(0, 4, 4), (1, 30, 26), (1, 33, 29), (4, 90, 10), (5, 100, 10), (6, 140, 40)]}
    totals["s2"] = [(0, 50, 1), (1, 20, 3), (2, 25, 5), (3, 35, 10), (4, 45, 10)]
    begin, end = EARLY - timedelta(days=2), EARLY + timedelta(days=40)
    return stocks(
        *(
            stock(
                stock_id,
                product_coupon_id="p1",
                sent=sent,
                today=today,
                per_day=40,
                max_count=500,
                single_usage_rule_coupon_available_period_available_begin_time=begin,
                single_usage_rule_coupon_available_period_available_end_time=end,
                fetched_at=EARLY + timedelta(days=day, minutes=place),
            )
            for stock_id, readings in totals.items()
            for place, (day, sent, today) in enumerate(readings)
        )
    )


def _user_coupons() -> pd.DataFrame:
    chance = random.Random(4)
    received = [EARLY - timedelta(days=chance.randrange(30), hours=chance.randrange(24)) for _ in range(40)]

    def drawn(number: int) -> dict[str, Any]:
        state, at = chance.choice(LIFECYCLE), NOON + timedelta(seconds=chance.randrange(6))
        confirmed = received[number] + timedelta(hours=1) if state not in ("CONFIRMING", None) else None
        used = received[number] + timedelta(days=chance.randrange(9)) if state == "USED" else None
        return coupon(
            str(number),
            state,
            at,
            stock_id="s1" if number % 3 else "s2",
            product_coupon_id="p1",
            openid=chance.choice(["u1", "u2", None]),
            receive_time=received[number],
            confirm_time=confirmed,
            valid_begin_time=received[number],
            valid_end_time=received[number] + timedelta(days=20),
            single_usage_detail_use_time=used,
            deactivate_time=at if state == "DEACTIVATED" else None,
        )

    readings = [drawn(chance.randrange(40)) for _ in range(300)]
    # Two readings of one coupon, state and instant that differ in the rest are no history: any of them may show.
    distinct = {(row["coupon_code"], row["coupon_state"], row["fetched_at"]): row for row in readings}
    return user_coupons(*distinct.values())


HISTORY = _history()
USER_COUPONS = _user_coupons()
RESULT = pd.DataFrame(
    {
        "openid": [f"u{n}" for n in range(90)],
        "status": ["sent", "failed", "held_out"] * 30,
        "assigned_at": [EARLY + timedelta(minutes=n) for n in range(90)],
        "segment": ["new", "old"] * 45,
    }
)
ORDERS = pd.DataFrame(
    {
        "openid": [f"u{n % 70}" for n in range(100)],
        "order_time": [EARLY + timedelta(hours=n) for n in range(100)],
        "amount_fen": [n * 37 % 5000 - 100 for n in range(100)],
    }
)

# What they answer of a lazy frame has no order: nothing is collected that could be sorted.
STAYS_LAZY = {"enrich", "state_changes"}

QUESTIONS: dict[str, Callable[[Of], Any]] = {
    "budget_use": lambda of: wx.budget_use(of("stocks", STOCKS), of("product_coupons", COUPONS)),
    "budget_use of no stocks": lambda of: wx.budget_use(of("stocks", STOCKS.head(0))),
    "remaining_daily_quota": lambda of: wx.remaining_daily_quota(of("stocks", STOCKS), now=NOON),
    "state_breakdown": lambda of: wx.state_breakdown(of("user_coupons", USER_COUPONS)),
    "state_breakdown by two": lambda of: wx.state_breakdown(
        of("user_coupons", USER_COUPONS), by=["openid", "fetched_day"]
    ),
    "state_breakdown of rows": lambda of: wx.state_breakdown(of("user_coupons", USER_COUPONS), deduplicate=False),
    "state_breakdown of nothing": lambda of: wx.state_breakdown(of("user_coupons", USER_COUPONS.head(0))),
    "state_history": lambda of: wx.state_history(of("user_coupons", USER_COUPONS)),
    "state_changes": lambda of: wx.state_changes(of("user_coupons", USER_COUPONS)),
    "coupon_funnel": lambda of: wx.coupon_funnel(of("user_coupons", USER_COUPONS), by="stock_id"),
    "confirming_age": lambda of: wx.confirming_age(of("user_coupons", USER_COUPONS), now=NOON + timedelta(days=1)),
    "redemption_rate": lambda of: wx.redemption_rate(of("user_coupons", USER_COUPONS), by="openid"),
    "redemption_curve": lambda of: wx.redemption_curve(of("user_coupons", USER_COUPONS), by="stock_id"),
    "coverage": lambda of: wx.coverage(of("user_coupons", USER_COUPONS), of("stocks", STOCKS)),
    "enrich": lambda of: wx.enrich(
        of("user_coupons", USER_COUPONS), of("stocks", STOCKS), of("product_coupons", COUPONS)
    ),
    "enrich: what it adds": lambda of: (
        nw.from_native(
            wx.enrich(of("user_coupons", USER_COUPONS), of("stocks", STOCKS), of("product_coupons", COUPONS))
        )
        .select("stock_id", "coupon_code", "coupon_state", "fetched_at", "name", "discount_fen", "discount_basis")
        .to_native()
    ),
    "daily_sends": lambda of: wx.daily_sends(of("stocks", HISTORY)),
    "quota_days": lambda of: wx.quota_days(of("stocks", HISTORY)),
    "pace": lambda of: wx.pace(of("stocks", HISTORY)),
    "exhaustion_forecast": lambda of: wx.exhaustion_forecast(
        of("stocks", HISTORY), now=EARLY + timedelta(days=6, hours=2)
    ),
    "holdout_lift": lambda of: wx.holdout_lift(of(None, RESULT), of(None, ORDERS), by="segment"),
}
