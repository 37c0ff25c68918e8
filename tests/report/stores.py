"""Stores grown by hand, snapshot by snapshot, and a report's headlines by measure."""

from __future__ import annotations

import pandas as pd

import wxcoupon_analytics as wx
from wxcoupon_analytics.entities.flatten import flatten

AFTER = pd.Timestamp("2026-11-16T00:00+08:00")
# the week reported on is 2026-W46


def saved(store: wx.SnapshotStore, at: str, *, total: int = 40, today: int = 5, **stock: object) -> wx.SnapshotStore:
    """Save a snapshot of one stock."""
    told = {
        "product_coupon_id": "7",
        "stock_id": "1",
        "state": "SENDING",
        "stock_send_rule": {"max_count": 1000},
        "sent_count_info": {"total_count": total, "today_count": today},
        **stock,
    }
    store.save("stocks", flatten("stocks", told, brand_id="120344", fetched_at=pd.Timestamp(f"{at}+08:00")))
    return store


def every_night(store: wx.SnapshotStore, first: int = 2, last: int = 16, **stock: object) -> wx.SnapshotStore:
    """Save snapshots of a stock that sends ten coupons a day."""
    for day in range(first, last + 1):
        saved(store, f"2026-11-{day:02}T02:00", total=10 * day, today=0, **stock)
    return store


def coupons_read(store: wx.SnapshotStore, day: str, **coupons_by_code: str | dict[str, object]) -> None:
    """Save a snapshot of coupons by their codes, at three in the morning: their states, or more of them."""
    coupons = [
        {"coupon_code": code, "stock": {"stock_id": "1"}, **({"coupon_state": told} if isinstance(told, str) else told)}
        for code, told in coupons_by_code.items()
    ]
    at = pd.Timestamp(f"2026-11-{day}T03:00+08:00")
    store.save("user_coupons", flatten("user_coupons", coupons, brand_id="120344", fetched_at=at))


def headlines(report: wx.WeeklyReport) -> pd.DataFrame:
    return report.tables["headlines"].set_index("measure")
