"""A week that runs, ended just now or ended long ago is told as of its own time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.report.conftest import Brand
from tests.report.stores import AFTER, saved


def test_a_week_in_the_future_and_a_language_not_spoken_are_refused(brand: Brand):
    with pytest.raises(wx.ValidationError, match="the last week that is over is 2026-W46"):
        wx.weekly_report(brand.store, week="2026-W48", now=brand.now)
    with pytest.raises(wx.ValidationError, match="the report speaks 'zh' and 'en'"):
        wx.weekly_report(brand.store, now=brand.now, lang="fr")


def test_a_week_that_still_runs_is_not_held_against_a_whole_one(empty: wx.SnapshotStore, tmp_path: Path):
    for day in range(8, 14):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    report = wx.weekly_report(empty, week="2026-W46", now=pd.Timestamp("2026-11-13T08:00+08:00"), lang="en")
    assert report.notes[0].startswith("The week is not over")
    assert report.tables["headlines"]["change"].isna().all()
    assert "at least 40 coupons" in report.headline
    text = report.to_html(tmp_path / "running.html").read_text(encoding="utf-8")
    assert "not held against a whole one" in text


def test_a_running_week_claims_no_snapshot_missing_that_may_still_be_taken(empty: wx.SnapshotStore):
    for day in range(2, 13):
        saved(empty, f"2026-11-{day:02}T22:00", total=10 * day, today=9)
    morning = pd.Timestamp("2026-11-13T08:00+08:00")
    report = wx.weekly_report(empty, week="2026-W46", now=morning, lang="en")
    assert report.headline == "2026-W46, which is not over: at least 39 coupons sent so far."
    assert not any("snapshot" in note for note in report.notes)
    saved(empty, "2026-11-14T22:00", total=140, today=9)
    gap = wx.weekly_report(empty, week="2026-W46", now=morning + timedelta(days=2), lang="en")
    assert any(note.startswith("No snapshot of stocks on 11-13:") for note in gap.notes)


@pytest.mark.parametrize(
    ("lang", "so_far", "after"),
    [
        ("en", "There is no snapshot on the Monday after yet, so ", "There is no snapshot on the Monday after, so "),
        ("zh", "周日之后的周一还没有快照，", "周日之后的周一没有快照，"),
    ],
)
def test_the_snapshot_of_the_monday_after_is_missing_once_that_day_is_over(empty, lang, so_far, after):
    for day in range(2, 16):
        saved(empty, f"2026-11-{day:02}T22:00", total=10 * day, today=9)
    for hours, said, unsaid in ((0, so_far, after), (23, so_far, after), (24, after, so_far)):
        report = wx.weekly_report(empty, week="2026-W46", now=AFTER + timedelta(hours=hours), lang=lang)
        assert any(note.startswith(said) for note in report.notes), hours
        assert not any(note.startswith(unsaid) for note in report.notes), hours


def test_what_an_old_week_lacks_is_said_of_its_own_time(empty: wx.SnapshotStore):
    for day in (2, 3, 4, 5, 30):
        saved(empty, f"2026-11-{day:02}T22:00", total=10 * day, today=9)
    report = wx.weekly_report(empty, week="2026-W46", now=pd.Timestamp("2026-11-30T23:00+08:00"), lang="en")
    assert report.actions[0].startswith(
        "On 11-16 23:59 the last snapshot of stocks was of 2026-11-05 22:00, 11 d 1 h before"
    )
    assert any("no snapshot on the Monday after" in note for note in report.notes)
