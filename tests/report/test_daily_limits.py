"""A day counts as one on which the daily limit was hit only if that is certain; otherwise the count is a lower bound."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.report.pages import Page
from tests.report.stores import AFTER, every_night, headlines, saved


def test_hits_of_a_week_known_in_part_are_a_lower_bound_and_not_compared(empty: wx.SnapshotStore):
    rule = {"stock_send_rule": {"max_count": 1000, "max_count_per_day": 10}}
    for day in range(5, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0, **rule)
    whole = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert headlines(whole).loc["days_hit", ["value", "value_at_most"]].tolist() == [7, 7]
    assert pd.isna(headlines(whole).loc["days_hit", "previous_value"]), "four days of it are known"
    part = wx.weekly_report(empty, week="2026-W45", now=AFTER + timedelta(hours=8), lang="en")
    assert headlines(part).loc["days_hit", "value"] == 4
    assert pd.isna(headlines(part).loc["days_hit", "value_at_most"])


@pytest.mark.parametrize(
    ("late", "at_most"),
    [
        pytest.param({"stock_send_rule": {"max_count_per_day": 10}, "total": 70}, None, id="it may have hit its limit"),
        pytest.param({"stock_send_rule": {"max_count_per_day": 10}, "total": 0}, 0, id="it had sent nothing"),
        pytest.param({"stock_send_rule": {"max_count": 1000}, "total": 70}, 0, id="it has no daily limit"),
    ],
)
def test_hits_of_a_stock_of_which_no_day_is_known_are_not_counted_as_none(empty: wx.SnapshotStore, late, at_most):
    rule = {"stock_send_rule": {"max_count": 1000, "max_count_per_day": 100}}
    for day in range(2, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0, **rule)
    saved(empty, "2026-11-16T03:00", today=0, stock_id="2", **late)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    told = headlines(report).loc["days_hit", ["value", "value_at_most", "previous_value"]]
    assert [None if pd.isna(count) else count for count in told] == [0, at_most, at_most]


LIMITED = {"stock_send_rule": {"max_count": 1000, "max_count_per_day": 10}}


@pytest.mark.parametrize(
    ("lang", "action", "note"),
    [
        ("zh", "限量至少有 4 天达到单日上限（现为 10 张；11-12, ", "有 1 个批次本周有的日子是否达到单日上限无法得知"),
        (
            "en",
            "限量 hit its daily limit, now 10 (days: at least 4, 11-12, ",
            "Stocks with days in this week of which nobody",
        ),
    ],
)
def test_a_stock_first_read_in_midweek_hit_its_limit_at_least_so_often(empty, tmp_path, lang, action, note):
    every_night(empty, 12, remark="限量", **LIMITED)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang=lang)
    assert headlines(report).loc["days_hit", "value"] == 4
    assert pd.isna(headlines(report).loc["days_hit", "value_at_most"])
    assert any(line.startswith(action) for line in report.actions)
    assert any(line.startswith(note) for line in report.notes)
    page = Page(report.to_html(tmp_path / "limits.html").read_text(encoding="utf-8"))
    [row] = [row for row in page.shown["limits"] if row]
    assert dict(zip(page.columns["limits"], row, strict=True))["days_hit"] == "≥ 4"


def test_a_stock_that_had_sent_nothing_when_first_read_hit_no_limit_before(empty: wx.SnapshotStore):
    for day in range(12, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * (day - 12), today=0, **LIMITED)
    told = headlines(wx.weekly_report(empty, now=AFTER + timedelta(hours=8))).loc["days_hit"]
    assert told[["value", "value_at_most"]].tolist() == [4, 4]


@pytest.mark.parametrize(
    ("sent", "bounds"),
    [
        pytest.param(9, [0, 0], id="fewer than the lower"),
        pytest.param(15, [0, None], id="between both: nobody knows when it was raised"),
        pytest.param(20, [1, 1], id="as many as the higher"),
    ],
)
def test_on_the_day_its_limit_was_raised_a_stock_is_held_to_both(empty: wx.SnapshotStore, sent, bounds):
    """Read at two in the morning with a limit of 10 until the 11th, on which it is raised to 20."""
    for day in range(2, 17):
        rule = {"stock_send_rule": {"max_count": 1000, "max_count_per_day": 10 if day <= 11 else 20}}
        saved(empty, f"2026-11-{day:02}T02:00", total=5 * day + (sent - 5) * (day > 11), today=0, **rule)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8))
    told = headlines(report).loc["days_hit", ["value", "value_at_most"]]
    assert [None if pd.isna(count) else count for count in told] == bounds
    assert report.tables["anomalies"].empty, "it never sent more than it was allowed"


def test_a_limit_that_came_during_a_day_may_have_been_hit_on_it(empty: wx.SnapshotStore):
    for day in range(2, 17):
        rule = {"stock_send_rule": {"max_count": 1000, **({"max_count_per_day": 12} if day > 11 else {})}}
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day + 5 * (day > 11), today=0, **rule)
    told = headlines(wx.weekly_report(empty, now=AFTER + timedelta(hours=8))).loc["days_hit"]
    assert told["value"] == 0
    assert pd.isna(told["value_at_most"]), "on the 11th, it sent 15"


def test_a_stock_that_ended_hits_nothing_after_its_last_reading(empty: wx.SnapshotStore):
    every_night(empty, 2, 10, **LIMITED)
    saved(empty, "2026-11-11T02:00", total=100, today=0, state="STOPPED", **LIMITED)
    every_night(empty, 2, 16, stock_id="2")
    told = headlines(wx.weekly_report(empty, now=AFTER + timedelta(hours=8))).loc["days_hit"]
    assert told[["value", "value_at_most"]].tolist() == [1, 1], "the ninth; on the tenth it sent none"


@pytest.mark.parametrize(("seen", "at_most"), [(9, 0), (14, None)])
def test_a_limit_raised_before_the_days_reading_may_have_been_hit_until_then(empty: wx.SnapshotStore, seen, at_most):
    """Read at ten at night, with a limit of 10 until the 11th and of 20 from the 12th on, on which 15 are sent."""
    for day in range(2, 17):
        rule = {"stock_send_rule": {"max_count": 1000, "max_count_per_day": 10 if day <= 11 else 20}}
        start, today = 5 * day + 10 * (day > 12), seen if day == 12 else 5
        saved(empty, f"2026-11-{day:02}T22:00", total=start + today, today=today, **rule)
    told = headlines(wx.weekly_report(empty, now=AFTER + timedelta(hours=23))).loc[
        "days_hit", ["value", "value_at_most"]
    ]
    assert [None if pd.isna(count) else count for count in told] == [0, at_most]


@pytest.mark.parametrize(
    ("seen", "evening", "bounds"),
    [
        pytest.param(10, 40, [1, 1], id="at its limit when read, and raised in the evening"),
        pytest.param(4, 40, [0, None], id="raised in the evening, at an unknown hour"),
        pytest.param(4, None, [0, None], id="lifted in the evening"),
    ],
)
def test_every_snapshot_of_a_day_tells_of_its_limit(empty: wx.SnapshotStore, seen, evening, bounds):
    """Read at two in the afternoon with a limit of 10, on the 11th at eight in the evening with another one."""
    for day in range(2, 17):
        total = 5 * day + 25 * (day > 11)
        today = seen if day == 11 else 5
        rule = {"stock_send_rule": {"max_count": 1000, "max_count_per_day": 10}}
        saved(empty, f"2026-11-{day:02}T14:00", total=total - 5 + today, today=today, **rule)
        if day == 11:
            rule = {"stock_send_rule": {"max_count": 1000, **({"max_count_per_day": evening} if evening else {})}}
            saved(empty, f"2026-11-{day:02}T20:00", total=total + 20, today=25, **rule)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=23))
    told = headlines(report).loc["days_hit", ["value", "value_at_most"]]
    assert [None if pd.isna(count) else count for count in told] == bounds
    assert report.tables["anomalies"].empty, "30 is within 40, or within no limit"
