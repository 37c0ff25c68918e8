"""What a store does not hold of a week is said, and never counted as nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.report.pages import Page
from tests.report.stores import AFTER, every_night, headlines, saved
from wxcoupon_analytics.entities.flatten import flatten


def test_stocks_alone_make_a_report_that_says_what_is_missing(empty: wx.SnapshotStore, tmp_path: Path):
    for day in range(8, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert not report.has_coupons
    assert any("never fetched" in note for note in report.notes)
    assert report.tables["sends"]["sends"].tolist() == [70]
    assert set(report.figures) == {"sends", "forecast"}
    for name in ("rates", "states", "redemption", "redeemed_value", "cohorts", "confirming", "deletions"):
        assert report.tables[name].empty
        assert len(report.tables[name].columns) > 2, name
    read = Page(report.to_html(tmp_path / "stocks.html").read_text(encoding="utf-8"))
    assert read.sections == ["sends", "forecast", "limits", "anomalies", "data", "definitions"]
    assert "used" not in read.cards
    assert "States of the coupons" not in openpyxl.load_workbook(report.to_excel(tmp_path / "stocks.xlsx")).sheetnames


def test_one_snapshot_says_that_more_are_needed(empty: wx.SnapshotStore):
    report = wx.weekly_report(saved(empty, "2026-11-15T10:00"), now=AFTER + timedelta(hours=8), lang="en")
    assert "at least 5 coupons" in report.headline
    assert any("one snapshot" in note for note in report.notes)
    assert report.tables["sends"]["sends"].isna().all()


def test_a_week_without_snapshots_shows_what_was_known_before_it(empty: wx.SnapshotStore):
    saved(empty, "2026-11-01T10:00")
    report = wx.weekly_report(saved(empty, "2026-11-05T10:00", total=60), now=AFTER + timedelta(hours=8), lang="en")
    assert any("no snapshot of stocks in this week; the last is of 2026-11-05 10:00" in note for note in report.notes)
    assert any("check the daily fetch" in line for line in report.actions)
    assert report.tables["freshness"].set_index("entity").loc["stocks", "is_stale"]


@pytest.mark.parametrize("week", ["2026-W40", None])
def test_a_store_that_knows_nothing_of_a_week_says_since_when_it_does(empty: wx.SnapshotStore, week):
    now = AFTER + timedelta(hours=8)
    if week is None:
        with pytest.raises(wx.SnapshotError, match="it has none at all"):
            wx.weekly_report(empty, now=now)
    else:
        saved(empty, "2026-11-05T10:00")
        with pytest.raises(wx.SnapshotError, match="its first is of 2026-11-05 10:00"):
            wx.weekly_report(empty, week=week, now=now)


def test_a_brand_without_stocks_yet_has_a_report(empty: wx.SnapshotStore, tmp_path: Path):
    none = saved(empty, "2026-11-15T02:00").load("stocks")[:0]
    bare = wx.SnapshotStore(tmp_path / "bare")
    bare.save("stocks", none, taken_at=pd.Timestamp("2026-11-15T02:00+08:00"))
    report = wx.weekly_report(bare, now=AFTER + timedelta(hours=8), lang="en")
    assert Page(report.to_html(tmp_path / "bare.html").read_text(encoding="utf-8")).rows("sends") == []
    assert report.to_excel(tmp_path / "bare.xlsx").exists()


def test_gaps_and_snapshots_cut_short_are_named(empty: wx.SnapshotStore):
    for day in (8, 9, 10, 12, 13, 14, 16):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    cut = empty.load("stocks")
    empty.save(
        "stocks",
        cut.assign(fetched_at=pd.Timestamp("2026-11-15T02:00+08:00")),
        taken_at=pd.Timestamp("2026-11-15T02:00+08:00"),
        complete=False,
    )
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert any(note.startswith("No snapshot of stocks on 11-11:") for note in report.notes)
    assert any("incomplete: stocks 11-15" in note for note in report.notes)


def test_a_fetch_that_goes_over_the_closing_midnight_is_read(empty: wx.SnapshotStore):
    for day in range(8, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    stuck = {
        "coupon_code": "A",
        "coupon_state": "CONFIRMING",
        "stock": {"stock_id": "1"},
        "receive_time": "2026-11-12T00:00:00+08:00",
    }
    late = flatten("user_coupons", stuck, brand_id="120344", fetched_at=pd.Timestamp("2026-11-17T00:10+08:00"))
    empty.save("user_coupons", late, taken_at=pd.Timestamp("2026-11-16T23:55+08:00"))
    report = wx.weekly_report(empty, now=AFTER + timedelta(days=3))
    assert headlines(report).loc["stuck", "value"] == 1


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        pytest.param(
            12,
            16,
            {
                "zh": [
                    "这些天没有批次快照：11-09, 11-10, 11-11，都早于首次快照；当天的发放量与此前的并在一起，无法拆开。"
                ],
                "en": [
                    "No snapshot of stocks on 11-09, 11-10, 11-11, before the first one: "
                    "what was sent then is known only together with all that was sent before."
                ],
            },
            id="before the first",
        ),
        pytest.param(
            2,
            13,
            {
                "zh": ["这些天没有批次快照：11-14, 11-15，都晚于最近一次快照；当天发放多少无从得知。"],
                "en": ["No snapshot of stocks on 11-14, 11-15, after the last one: what was sent then cannot be told."],
            },
            id="after the last",
        ),
        pytest.param(
            10,
            14,
            {
                "zh": [
                    "这些天没有批次快照：11-09，都早于首次快照；当天的发放量与此前的并在一起，无法拆开。",
                    "这些天没有批次快照：11-15，都晚于最近一次快照；当天发放多少无从得知。",
                ],
                "en": [
                    "No snapshot of stocks on 11-09, before the first one: "
                    "what was sent then is known only together with all that was sent before.",
                    "No snapshot of stocks on 11-15, after the last one: what was sent then cannot be told.",
                ],
            },
            id="both",
        ),
    ],
)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_days_outside_the_snapshots_are_part_of_no_other_day(empty: wx.SnapshotStore, lang, first, last, said):
    report = wx.weekly_report(every_night(empty, first, last), now=AFTER + timedelta(hours=8), lang=lang)
    begins = {"zh": "这些天没有批次快照", "en": "No snapshot of stocks on"}[lang]
    assert [note for note in report.notes if note.startswith(begins)] == said[lang]


@pytest.mark.parametrize(("state", "is_said"), [("SENDING", True), ("STOPPED", False)])
def test_a_stock_that_later_snapshots_do_not_have_is_as_it_was_last_read(empty: wx.SnapshotStore, state, is_said):
    every_night(empty)
    for day in (9, 10, 11):
        saved(empty, f"2026-11-{day:02}T02:01", total=110, today=0, stock_id="2", state=state)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    said = "Stocks that the latest snapshots do not have, so that their state and counts are those last read: 1."
    assert (said in report.notes) == is_said
