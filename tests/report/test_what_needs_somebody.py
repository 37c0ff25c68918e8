"""Stocks that run out, limits hit, coupons stuck and anomalies are brought to attention."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

import wxcoupon_analytics as wx
from tests.report.stores import AFTER, coupons_read, every_night, headlines, saved


def test_stocks_that_run_out_and_limits_hit_need_action(empty: wx.SnapshotStore):
    rule = {"stock_send_rule": {"max_count": 200, "max_count_per_day": 10}}
    for day in range(8, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0, remark="限量", **rule)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert report.actions[0].startswith("限量 runs out on 2026-11-")
    assert report.actions[1].startswith("限量 hit its daily limit, now 10 (days: 7, 11-09, ")
    assert "stocks that will run out within two weeks: 1" in report.headline


def test_anomalies_are_listed(empty: wx.SnapshotStore):
    for day, total in ((8, 10), (9, 60), (10, 70), (12, 20), (16, 30)):
        saved(
            empty,
            f"2026-11-{day:02}T02:00",
            total=total,
            today=0,
            stock_send_rule={"max_count": 25, "max_count_per_day": 5},
        )
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert Counter(report.tables["anomalies"]["anomaly"]) == {
        "counter_backwards": 1,
        "oversent": 1,
        "over_daily_limit": 1,
    }
    assert any("Anomalies found: 3" in line for line in report.actions)


@pytest.mark.parametrize(("received", "stuck"), [("2026-11-15T23:00:00", None), ("2026-11-14T23:00:00", "1 d 4 h")])
def test_a_coupon_is_stuck_if_it_had_waited_when_it_was_last_read(empty: wx.SnapshotStore, received, stuck):
    """Read on Monday at three, reported on two days later: what happened since, nobody knows."""
    every_night(empty)
    coupons_read(empty, "16", A={"coupon_state": "CONFIRMING", "receive_time": f"{received}+08:00"})
    report = wx.weekly_report(empty, now=AFTER + timedelta(days=2), lang="en")
    assert headlines(report).loc["stuck", "value"] == (stuck is not None)
    said = [line for line in report.actions if "unconfirmed" in line]
    assert said == [
        f"1: 1 unconfirmed for more than 24 hours, the longest for {stuck}: check the back end that confirms."
    ] * (stuck is not None)
