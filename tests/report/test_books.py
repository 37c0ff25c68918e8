"""What a report counts is what the embedded brand's books hold, table by table and on the page."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.report.conftest import Brand
from tests.report.pages import Page
from wxcoupon_analytics.report.page import SECTIONS

MONDAY = pd.Timestamp("2026-11-09T00:00+08:00")
WEEK = timedelta(days=7)


def within(times: pd.Series, start: pd.Timestamp) -> pd.Series:
    return (times >= start) & (times < start + WEEK)


def test_sends_and_uses_are_those_of_the_books(brand: Brand, report: wx.WeeklyReport):
    received, used = brand.coupons["receive_time"], brand.coupons["coupon_state"] == "USED"
    by_stock = Counter(brand.coupons.loc[within(received, MONDAY), "stock_id"])
    table = report.tables["sends"].set_index("stock_id")
    assert {stock: sends for stock, sends in table["sends"].items() if sends} == by_stock
    before = Counter(brand.coupons.loc[within(received, MONDAY - WEEK), "stock_id"])
    assert {stock: sends for stock, sends in table["previous_sends"].items() if sends} == before

    headlines = report.tables["headlines"].set_index("measure")
    assert headlines.loc["sends", ["value", "previous_value"]].tolist() == [by_stock.total(), before.total()]
    assert headlines.loc["sends", "change_share"] == pytest.approx(by_stock.total() / before.total() - 1)
    times = pd.concat([brand.coupons[f"{way}_usage_detail_use_time"] for way in ("single", "progressive_bundle")])
    in_week = within(times, MONDAY)[lambda week: week].index
    single = brand.coupons.loc[in_week][used.loc[in_week]]
    several = brand.coupons[used & brand.coupons["sequential_usage_detail_detail_item_list"].notna()]
    last = several["sequential_usage_detail_detail_item_list"].map(
        lambda uses: max(use["use_time"] for use in uses if use["use_time"])
    )
    assert len(several)
    assert headlines.loc["used", "value"] == len(single) + int(within(pd.to_datetime(last), MONDAY).sum())


def test_states_are_those_of_the_books(brand: Brand, report: wx.WeeklyReport):
    counts = dict(zip(report.tables["states"]["coupon_state"], report.tables["states"]["count"], strict=True))
    assert {state: count for state, count in counts.items() if count} == Counter(brand.coupons["coupon_state"])
    coverage = report.tables["rates"].set_index("measure").loc["coverage", "rate"]
    assert coverage == pytest.approx(len(brand.coupons) / brand.stocks["sent_count_info_total_count"].sum())


def test_tables_are_what_the_metrics_say_of_the_store(brand: Brand, report: wx.WeeklyReport):
    coupons, stocks = brand.store.load("user_coupons"), brand.store.load("stocks")
    history = brand.store.history("stocks")
    rates = wx.redemption_rate(coupons, by="stock_id").set_index("stock_id")
    table = report.tables["redemption"].set_index("stock_id").loc[rates.index]
    pd.testing.assert_frame_equal(table[rates.columns.drop("as_of")], rates.drop(columns="as_of"))
    forecast = wx.exhaustion_forecast(history, now=brand.now).set_index("stock_id")
    table = report.tables["forecast"].set_index("stock_id").loc[forecast.index, forecast.columns]
    pd.testing.assert_frame_equal(table, forecast)
    worth = wx.budget_use(stocks, brand.store.load("product_coupons")).set_index("stock_id")
    fixed = worth[worth["discount_basis"] == "fixed"]
    value = report.tables["redeemed_value"].set_index("discount_basis")
    to_date = (rates["used_count"] * fixed["discount_fen"]).dropna().sum()
    assert value.loc["fixed", "value_to_date_fen"] == to_date
    curve = wx.redemption_curve(coupons.assign(cohort=coupons["receive_time"].dt.strftime("%G-W%V")), by="cohort")
    day_7 = curve[curve["day"] == 7].set_index("cohort")["used_share"]
    shown = report.tables["cohorts"].set_index("cohort")["used_share_7d"].dropna()
    pd.testing.assert_series_equal(shown, day_7.loc[shown.index], check_names=False, check_index_type=False)
    stuck = wx.confirming_age(coupons, now=brand.now)
    assert report.tables["confirming"]["stuck_count"].sum() == (stuck["age"] > timedelta(hours=24)).sum() > 0
    read = brand.store.history("user_coupons")
    found = wx.state_changes(read).query("is_silent")["as_of"] > brand.now - WEEK
    first = read.sort_values("fetched_at").drop_duplicates(["stock_id", "coupon_code"])
    gone = (first["coupon_state"] == "DELETED") & (first["receive_time"] >= MONDAY)
    assert report.tables["deletions"]["deleted_count"].sum() == found.sum() + gone.sum() > found.sum() > 0


def test_the_page_holds_the_tables_number_by_number(report: wx.WeeklyReport, page: Path):
    read = Page(page.read_text(encoding="utf-8"))
    compared = 0
    for section in SECTIONS:
        for name, columns in section.tables.items():
            frame = report.tables[name]
            if frame.empty:
                assert not read.rows(name)
                continue
            assert read.columns[name] == list(columns)
            assert len(read.rows(name)) == min(len(frame), 12)
            for row, (_, told) in zip(read.rows(name), frame.iterrows(), strict=False):
                for column, value in row.items():
                    expected = told["stock_id" if column == "stock" else column]
                    assert same(value, expected, column), (name, column, value, expected)
                    compared += 1
    assert compared > 300
    for measure, value in read.cards.items():
        table = "headlines" if measure in set(report.tables["headlines"]["measure"]) else "rates"
        told = report.tables[table].set_index("measure").loc[measure, "value" if table == "headlines" else "rate"]
        assert float(value) == told


def same(value: str, expected: object, column: str) -> bool:
    """Hold what a page has against what the table says; it has yuan for fen."""
    if pd.isna(expected):
        return value == ""
    if isinstance(expected, datetime):
        return pd.Timestamp(value) == expected
    if isinstance(expected, timedelta):
        return int(value) == int(expected.total_seconds())
    if column.endswith("_fen"):
        return Decimal(value) * 100 == expected
    if isinstance(expected, float):
        return float(value) == expected
    return value == str(expected)


def test_the_same_week_made_later_is_the_same_report(brand: Brand, report: wx.WeeklyReport):
    later = wx.weekly_report(brand.store, week="2026-W46", now=brand.now + timedelta(hours=13), lang="en")
    for name in ("sends", "states", "redemption", "cohorts", "redeemed_value"):
        pd.testing.assert_frame_equal(later.tables[name], report.tables[name])
    assert later.headline == report.headline
