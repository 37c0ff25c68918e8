"""Stocks and coupons are told apart by what they are, in tables as in sentences."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.report.stores import AFTER, saved
from wxcoupon_analytics.entities.flatten import flatten


def test_stocks_that_only_their_brand_tells_apart_are_refused(empty: wx.SnapshotStore):
    for stock in "123":
        saved(empty, "2026-11-15T02:00", stock_id=stock)
    twin = empty.load("stocks").assign(brand_id="999999")
    empty.save("stocks", twin, taken_at=pd.Timestamp("2026-11-15T03:00+08:00"))
    with pytest.raises(wx.SnapshotError, match="stock '1' more than once, of the brands '120344', '999999', and a"):
        wx.weekly_report(empty, now=AFTER + timedelta(hours=8))


def test_a_coupon_that_does_not_say_its_product_is_of_its_stock(empty: wx.SnapshotStore):
    rule = {"single_usage_rule": {"normal_coupon": {"threshold": 0, "discount_amount": 500}}}
    for day in (8, 9, 16):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0, **rule)
    product = {"product_coupon_id": "7", "type": "NORMAL", "usage_mode": "SINGLE"}
    at = pd.Timestamp("2026-11-16T03:00+08:00")
    empty.save("product_coupons", flatten("product_coupons", product, brand_id="120344", fetched_at=at))
    used = {"coupon_state": "USED", "single_usage_detail": {"use_time": "2026-11-12T10:00:00+08:00"}}
    coupons = [
        {"coupon_code": "A", "stock": {"stock_id": "1"}, "product_coupon": {"product_coupon_id": "7"}, **used},
        {"coupon_code": "B", "stock": {"stock_id": "1"}, **used},
    ]
    empty.save("user_coupons", flatten("user_coupons", coupons, brand_id="120344", fetched_at=at))
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert report.tables["redemption"][["known_count", "used_count"]].values.tolist() == [[2, 2]]
    value = report.tables["redeemed_value"][["discount_basis", "used_count", "value_fen", "value_to_date_fen"]]
    assert value.values.tolist() == [["fixed", 2, 1000, 1000]]


def test_stocks_of_one_name_are_told_apart_in_sentences(empty: wx.SnapshotStore):
    for stock, remark in (("1", "同名"), ("2", "同名"), ("3", "别名")):
        for day in range(2, 17):
            saved(empty, f"2026-11-{day:02}T02:0{stock}", total=60 * day, today=0, stock_id=stock, remark=remark)
    for lang, called in (("zh", "同名（1）预计 "), ("en", "同名 (1) runs out on ")):
        report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang=lang)
        assert report.actions[0].startswith(called)
        assert report.actions[2].startswith("别名预计" if lang == "zh" else "别名 runs out")
