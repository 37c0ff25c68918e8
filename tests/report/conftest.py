from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

import wxcoupon_analytics as wx


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
