from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.report.stores import saved
from wxcoupon_analytics.entities.flatten import flatten


@dataclass(frozen=True)
class Brand:
    """A store of snapshots from Monday 2026-11-02 to Monday 2026-11-16, and the books as they then were."""

    store: wx.SnapshotStore
    now: datetime
    coupons: pd.DataFrame
    stocks: pd.DataFrame


@pytest.fixture(scope="package")
def brand(tmp_path_factory: pytest.TempPathFactory) -> Brand:
    store = wx.SnapshotStore(tmp_path_factory.mktemp("report") / "store")
    with wx.Sandbox(seed=11, history_days=0) as box, box.client() as client:
        ids = box.truth("product_coupons")["product_coupon_id"]
        store.save("product_coupons", client.fetch.product_coupons(ids))
        for days in (0, 3, 4, 3, 2, 1, 1):
            box.advance(days=days)
            store.save("stocks", client.fetch.stocks(ids))
            if box.now().day in (9, 12, 16):
                store.save("user_coupons", box.truth("user_coupons"))
        return Brand(store, box.now(), box.truth("user_coupons"), box.truth("stocks"))


@pytest.fixture(scope="package")
def report(brand: Brand) -> wx.WeeklyReport:
    return wx.weekly_report(brand.store, now=brand.now, lang="en")


@pytest.fixture(scope="package")
def page(report: wx.WeeklyReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.to_html(tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def empty(tmp_path: Path) -> wx.SnapshotStore:
    return wx.SnapshotStore(tmp_path / "store")


CAMPAIGN = {"stock_id": "2", "remark": "周中开始"}


@pytest.fixture
def started_midweek(empty: wx.SnapshotStore) -> wx.SnapshotStore:
    """A stock read every night, twice as fast from 2026-11-09 on, and one that begins on the Wednesday after it."""
    for day in range(2, 17):
        saved(empty, f"2026-11-{day:02}T00:30", total=500 + 100 * (day + max(day - 9, 0)), today=0)
    for day in range(12, 17):
        stock = {**CAMPAIGN, "sent_count_info": {"total_count": 30 * (day - 11), "today_count": 0}}
        at = pd.Timestamp(f"2026-11-{day:02}T00:31+08:00")
        told = {"product_coupon_id": "7", "state": "SENDING", **stock}
        empty.save("stocks", flatten("stocks", told, brand_id="120344", fetched_at=at))
    return empty
