"""The sums of a week, on histories made by hand."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from wxcoupon_analytics.entities.flatten import flatten
from wxcoupon_analytics.report.numbers import change, redeemed_value, week_limits, week_sends
from wxcoupon_analytics.report.weeks import Week, week_asked_for

WEEK = Week(date(2026, 11, 16))
NOW = datetime.fromisoformat("2026-11-23T08:00:00+08:00")


def snapshot(day: str, total: int, today: int, *, hour: int = 10) -> pd.DataFrame:
    stock = {
        "product_coupon_id": "7",
        "stock_id": "1",
        "state": "SENDING",
        "stock_send_rule": {"max_count": 1000, "max_count_per_day": 10},
        "sent_count_info": {"total_count": total, "today_count": today},
    }
    return flatten("stocks", stock, fetched_at=pd.Timestamp(f"2026-11-{day}T{hour:02}:00+08:00"))


def sent(*snapshots: pd.DataFrame, week: Week = WEEK) -> tuple[object, object]:
    row = week_sends(wx.daily_sends(pd.concat(snapshots)), week).iloc[0]
    return tuple(None if pd.isna(row[name]) else int(row[name]) for name in ("sends", "sends_at_least"))


def every_day(first: int, last: int) -> list[pd.DataFrame]:
    """Ten coupons a day, of which three are sent before ten in the morning."""
    return [snapshot(f"{day:02}", 10 * day + 3, 3) for day in range(first, last + 1)]


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [
        pytest.param(every_day(9, 23), (70, 70), id="a snapshot every day, and one after"),
        pytest.param([*every_day(9, 16), *every_day(20, 23)], (70, 70), id="days missing within the week"),
        pytest.param(
            [*every_day(9, 14), *every_day(18, 23)], (None, 50), id="the Monday missing: Sunday's sends come in"
        ),
        pytest.param(every_day(9, 22), (None, 63), id="none after Sunday: Sunday still runs"),
        pytest.param(every_day(18, 23), (None, 50), id="first read on Wednesday"),
        pytest.param(
            [snapshot("18", 4, 4), snapshot("23", 54, 3)], (51, 51), id="nothing was sent before it was first read"
        ),
        pytest.param(
            [snapshot("15", 5, 0), snapshot("18", 5, 0), *[snapshot("23", 45, 0)]],
            (40, 40),
            id="a gap over the edge in which nothing was sent",
        ),
        pytest.param(
            [*every_day(9, 18), snapshot("19", 50, 3), snapshot("23", 90, 3)], (None, 63), id="counters went backwards"
        ),
    ],
)
def test_what_a_week_sent_is_known_or_bounded_from_below(snapshots, expected):
    assert sent(*snapshots) == expected


def test_a_week_is_never_said_to_have_sent_more_than_it_did():
    history = every_day(1, 30)
    for missing in range(10, 25):
        left = [frame for day, frame in enumerate(history, start=1) if day != missing]
        exact, at_least = sent(*left)
        assert exact in (None, 70)
        assert at_least <= 70


def test_limits_hit_and_left_unused():
    history = pd.concat(
        [
            snapshot("15", 0, 0),
            snapshot("16", 0, 0),
            snapshot("17", 10, 0),
            snapshot("18", 14, 0),
            snapshot("19", 14, 0),
        ]
    )
    row = week_limits(wx.quota_days(history), WEEK).iloc[0]
    assert (row["days_known"], row["days_hit"], row["days_idle"], row["hit_days"]) == (3, 1, 1, "11-16")
    assert row["used_share"] == pytest.approx(14 / 30)
    assert row["unused_count"] == 16


def test_face_value_is_never_added_up_across_bases():
    def used(*counts: int) -> pd.DataFrame:
        stocks = [str(n) for n in range(len(counts))]
        return pd.DataFrame({"product_coupon_id": "7", "stock_id": stocks, "used_count": counts})

    budget = pd.DataFrame(
        {
            "product_coupon_id": "7",
            "stock_id": ["0", "1", "2", "3"],
            "discount_fen": pd.array([500, 300, 200, None], dtype="Int64"),
            "discount_basis": ["fixed", "fixed", "at_threshold", "unknown"],
        }
    )
    value = redeemed_value(used(2, 1, 4, 9), used(1, 0, 0, 0), used(9, 9, 9, 9), budget)
    assert value["discount_basis"].tolist() == ["fixed", "at_threshold", "unknown"]
    assert value["used_count"].tolist() == [3, 4, 9]
    assert value["value_fen"].astype(object).where(value["value_fen"].notna(), None).tolist() == [1300, 800, None]
    assert value["previous_value_fen"].tolist()[:2] == [500, 0]
    assert value["change_share"].iloc[0] == pytest.approx(1.6)
    assert value["change_share"].isna().tolist() == [False, True, True]


def test_a_change_is_of_two_known_numbers():
    assert change(108, 100) == (8, 0.08)
    assert change(5, 0) == (5, None)
    assert change(None, 5) == change(5, None) == (None, None)


@pytest.mark.parametrize("asked", ["2026-W47", "2026W47", "2026-11-16", "2026-11-22", date(2026, 11, 19), None])
def test_a_week_is_asked_for_by_name_or_by_a_day_of_it(asked):
    week = week_asked_for(asked, NOW)
    assert (week, week.name) == (WEEK, "2026-W47")
    assert week.end - week.start == timedelta(days=7)
    assert week.start.isoformat() == "2026-11-16T00:00:00+08:00"


def test_years_of_fifty_three_weeks():
    assert week_asked_for("2027-01-03", NOW.replace(year=2027)).name == "2026-W53"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("2026-W48", None),
        ("2026-W49", "2026-W49 begins on 2026-11-30"),
        ("2026-W60", "neither"),
        ("last", "neither"),
        (47, "neither"),
    ],
)
def test_a_week_that_has_not_begun_or_cannot_be_read_is_refused(asked, says):
    if says is None:
        assert week_asked_for(asked, NOW).name == asked
    else:
        with pytest.raises(wx.ValidationError, match=says):
            week_asked_for(asked, NOW)
