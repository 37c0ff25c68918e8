"""Sends that cannot be known exactly are ranges or lower bounds, with their reasons."""

from __future__ import annotations

import re
from datetime import timedelta

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.report.pages import Page
from tests.report.stores import AFTER, every_night, headlines, saved
from wxcoupon_analytics.entities.flatten import flatten


@pytest.mark.parametrize(
    ("lang", "headline", "note", "change"),
    [
        (
            "zh",
            "2026-W46 一周发放 1,520–1,550 张，较上周 +108.2% … +121.4%。",
            "有 1 个批次本周的发放量只知道区间（如 5–9，确切数必在其中）：首次读取前已有发放 1 个。",
            "上周 700–730",
        ),
        (
            "en",
            "2026-W46: between 1,520 and 1,550 coupons sent, +108.2% … +121.4% on the week before.",
            "Stocks whose sends of this week are known as a range, such as 5–9, which certainly holds the exact number: 1 "
            "(had sent some when first read: 1).",
            "before: 700–730",
        ),
    ],
)
def test_a_stock_that_starts_in_midweek_makes_a_range(started_midweek, tmp_path, lang, headline, note, change):
    report = wx.weekly_report(started_midweek, now=AFTER + timedelta(hours=8), lang=lang)
    assert report.headline == headline
    assert note in report.notes
    text = report.to_html(tmp_path / "range.html").read_text(encoding="utf-8")
    assert {row[0]: row[2:5] for row in Page(text).shown["sends"] if row} == {
        "1": ["1,400", "700", "+100.0%"],
        "周中开始": ["120–150", "0–30", "—"],
    }
    [card] = re.findall(r'<li data-measure="sends">.*</li>', text)
    assert all(said in card for said in (">1,520–1,550<", change, "+108.2% … +121.4%"))


def test_stocks_known_as_a_range_and_from_below_are_counted_by_reason(started_midweek):
    stopped = {"product_coupon_id": "7", "stock_id": "3", "state": "SENDING"}
    for day in (2, 12):
        counts = {"sent_count_info": {"total_count": day, "today_count": 1}}
        at = pd.Timestamp(f"2026-11-{day:02}T00:32+08:00")
        started_midweek.save("stocks", flatten("stocks", stopped | counts, brand_id="120344", fetched_at=at))
    report = wx.weekly_report(started_midweek, now=AFTER + timedelta(hours=8), lang="en")
    assert [note for note in report.notes if note.startswith(("Stocks whose", "Stocks of"))] == [
        "Stocks whose sends of this week are known as a range, such as 5–9, which certainly holds the exact number: 1 "
        "(had sent some when first read: 1).",
        "Stocks of which only a lower bound of this week's sends is known (marked ≥): 1 (not read after the week: 1).",
    ]
    assert report.headline.startswith("2026-W46: at least 1,521 coupons sent (some stocks were not read after the week")
    assert headlines(report).loc["sends", ["value_at_most", "change_share"]].isna().all()


def test_a_stock_that_had_ended_sends_nothing_though_it_is_not_read_any_more(empty: wx.SnapshotStore):
    every_night(empty)
    for day in ("09-20", "11-04"):
        for stock, state in (("2", "STOPPED"), ("3", "DEACTIVATED")):
            saved(empty, f"2026-{day}T02:00", stock_id=f"{stock}-{day}", state=state)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert report.headline.startswith("2026-W46: 70 coupons sent")
    assert report.tables["sends"]["sends"].tolist() == [70, 0, 0, 0, 0]
    paused = wx.weekly_report(
        saved(empty, "2026-09-20T02:00", stock_id="4", state="PAUSED"), now=AFTER + timedelta(hours=8), lang="en"
    )
    assert paused.headline.startswith("2026-W46: at least 70 coupons sent"), "it may have gone on since"
    assert any("only a lower bound" in note and "(not read after the week: 1)" in note for note in paused.notes)
