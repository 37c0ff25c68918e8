"""How long a weekly report takes over a year of daily snapshots: at most ten seconds on two cores.

python -m tests.benchmarks.report [stocks] [days]
"""

from __future__ import annotations

import datetime as dt
import platform
import sys
import tempfile
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

import wxcoupon_analytics as wx
from wxcoupon_analytics.entities.schemas import frame_from_rows

BEIJING = ZoneInfo("Asia/Shanghai")
LAST = dt.datetime(2026, 11, 23, 2, tzinfo=BEIJING)
AT_MOST = 10.0


def fill(store: wx.SnapshotStore, stocks: int, days: int) -> None:
    """Save a snapshot a day: each stock sends what chance says, up to its daily limit."""
    chance = np.random.default_rng(7)
    sent = np.zeros(stocks, dtype=int)
    store.save("product_coupons", frame_from_rows("product_coupons", [_coupon(n) for n in range(20)]), taken_at=LAST)
    for day in range(days):
        at = LAST - dt.timedelta(days=days - 1 - day)
        today = chance.poisson(3, stocks)
        rows = [_stock(n, int(sent[n] + today[n]), int(today[n]), at) for n in range(stocks)]
        sent += np.minimum(chance.poisson(60 + np.arange(stocks) % 50, stocks), 100)
        store.save("stocks", frame_from_rows("stocks", rows))


def _coupon(n: int) -> dict[str, object]:
    return {
        "brand_id": "120344",
        "product_coupon_id": f"1000000{n:03}",
        "type": "NORMAL",
        "usage_mode": "SINGLE",
        "display_info_name": f"全场满{n + 1}0减{n + 1}",
        "fetched_at": LAST,
    }


def _stock(n: int, total: int, today: int, at: dt.datetime) -> dict[str, object]:
    return {
        "brand_id": "120344",
        "product_coupon_id": f"1000000{n % 20:03}",
        "stock_id": f"10000000000{n:05}",
        "remark": f"批次 {n}",
        "state": "SENDING",
        "stock_send_rule_max_count": 31_000 + 100 * n,
        "stock_send_rule_max_count_per_day": 100,
        "single_usage_rule_normal_coupon_discount_amount": 500,
        "sent_count_info_total_count": total,
        "sent_count_info_today_count": today,
        "fetched_at": at,
    }


def main(stocks: int = 200, days: int = 365) -> None:
    print(
        f"{platform.machine()}, Python {platform.python_version()}, pandas {pd.__version__}; {stocks} stocks, {days} days"
    )
    with tempfile.TemporaryDirectory() as folder:
        store = wx.SnapshotStore(Path(folder, "store"))
        fill(store, stocks, days)
        begun, worked = time.perf_counter(), time.process_time()
        report = wx.weekly_report(store, now=LAST + dt.timedelta(hours=6))
        built = time.perf_counter()
        page = report.to_html(Path(folder, "report.html"))
        rendered, work = time.perf_counter() - begun, time.process_time() - worked
        print(f"tables and figures {built - begun:5.1f} s, page {rendered - (built - begun):5.1f} s")
        print(f"weekly report      {rendered:5.1f} s ({work:.1f} s of CPU), {page.stat().st_size / 1e6:.1f} MB")
        print("PASS" if rendered <= AT_MOST else f"FAIL: more than {AT_MOST:.0f} s")
        sys.exit(rendered > AT_MOST)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
