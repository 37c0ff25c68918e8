"""The sums of a week, on histories made by hand."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wxcoupon_analytics as wx
from wxcoupon_analytics.entities.flatten import flatten
from wxcoupon_analytics.report.coupon_numbers import redeemed_value
from wxcoupon_analytics.report.numbers import change, change_between, day_limits, week_limits, week_sends
from wxcoupon_analytics.report.weeks import Week, week_asked_for

WEEK = Week(date(2026, 11, 16))
NOW = datetime.fromisoformat("2026-11-23T08:00:00+08:00")


def snapshot(day: str, total: int, today: int, *, hour: int = 10) -> pd.DataFrame:
    return snapshot_at(datetime.fromisoformat(f"2026-11-{day}T{hour:02}:00+08:00"), total, today)


def snapshot_at(at: datetime, total: int, today: int) -> pd.DataFrame:
    stock = {
        "product_coupon_id": "7",
        "stock_id": "1",
        "state": "SENDING",
        "stock_send_rule": {"max_count": 1000, "max_count_per_day": 10},
        "sent_count_info": {"total_count": total, "today_count": today},
    }
    return flatten("stocks", stock, fetched_at=pd.Timestamp(at))


BOUNDS = ("sends", "sends_at_least", "sends_at_most", "why_not_exact")


def sent(*snapshots: pd.DataFrame, week: Week = WEEK) -> tuple[object, ...]:
    [row] = week_sends(wx.daily_sends(pd.concat(snapshots)), week)[[*BOUNDS]].astype(object).values.tolist()
    return tuple(None if pd.isna(value) else value for value in row)


def exactly(count: int) -> tuple[object, ...]:
    return count, count, count, None


def between(least: int, most: int | None, why: str) -> tuple[object, ...]:
    return None, least, most, why


def every_day(first: int, last: int) -> list[pd.DataFrame]:
    """Ten coupons a day, of which three are sent before ten in the morning."""
    return [snapshot(f"{day:02}", 10 * day + 3, 3) for day in range(first, last + 1)]


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [
        pytest.param(every_day(9, 23), exactly(70), id="a snapshot every day, and one after"),
        pytest.param([*every_day(9, 16), *every_day(20, 23)], exactly(70), id="days missing within the week"),
        pytest.param(
            [*every_day(9, 14), *every_day(18, 23)],
            between(50, 50 + 40 - 3, "gap_at_edge"),
            id="the Monday missing: of four days' forty, three were seen on the Saturday",
        ),
        pytest.param(
            [*every_day(9, 20), *every_day(25, 26)],
            between(40 + 3, 40 + 50, "gap_at_edge"),
            id="the days about the Sunday missing: of five days' fifty, three were seen on the Friday",
        ),
        pytest.param(
            [*every_day(9, 14), *every_day(25, 26)],
            between(0, 110 - 3, "gap_at_edge"),
            id="not read in the week: a gap over both its edges",
        ),
        pytest.param(
            [*every_day(9, 13), snapshot("14", 145, 5), snapshot("18", 145, 0), *every_day(19, 23)],
            exactly(85),
            id="a gap over the edge, all of which was seen before the week: 45 on the 18th, 40 after it",
        ),
        pytest.param(
            [*every_day(9, 19), snapshot("20", 205, 5), snapshot("24", 205, 0)],
            exactly(40 + 5),
            id="a gap over the edge, all of which was seen in the week",
        ),
        pytest.param(
            [snapshot("15", 5, 0), snapshot("18", 5, 0), snapshot("23", 45, 0)],
            exactly(40),
            id="a gap over the edge in which nothing was sent",
        ),
        pytest.param(every_day(9, 22), between(63, None, "not_read_after"), id="none after Sunday: Sunday still runs"),
        pytest.param(every_day(2, 13), between(0, None, "not_read_after"), id="last read before the week"),
        pytest.param(
            [snapshot("18", 142, 0, hour=1), *every_day(19, 23)],
            between(48 + 40, 48 + 40 + 142, "first_read"),
            id="first read on Wednesday, when it had sent some",
        ),
        pytest.param(
            [snapshot("18", 4, 4), snapshot("23", 54, 3)], exactly(51), id="first read when it had sent nothing"
        ),
        pytest.param(every_day(16, 23), exactly(70), id="first read on the Monday: what it had sent is of before"),
        pytest.param(every_day(23, 24), between(0, 230, "first_read"), id="first read on the Monday after"),
        pytest.param([snapshot("23", 3, 3)], exactly(0), id="first read on the Monday after, when it had sent nothing"),
        pytest.param(
            [*every_day(9, 18), snapshot("19", 50, 3), snapshot("23", 90, 3)],
            between(63, None, "counter_backwards"),
            id="counters went backwards in the week",
        ),
        pytest.param(
            [snapshot("10", 500, 3), *every_day(11, 23)], exactly(70), id="counters went backwards before the week"
        ),
        pytest.param(
            [snapshot("18", 3, 5), snapshot("19", 8, 0), snapshot("23", 48, 0)],
            between(10 + 40, None, "counter_backwards"),
            id="first read with more sent today than ever",
        ),
        pytest.param(
            every_day(18, 21), between(33, None, "not_read_after"), id="first read in the week, and not read after it"
        ),
    ],
)
def test_what_a_week_sent_is_exact_or_has_bounds(snapshots, expected):
    assert sent(*snapshots) == expected


instants = st.integers(0, 28 * 24 * 60 - 1).map(lambda minutes: WEEK.start - timedelta(days=10, minutes=-minutes))


@settings(deadline=None, max_examples=60)
@given(
    sends=st.lists(instants, max_size=60), read_at=st.lists(instants, min_size=1, max_size=8), before=st.integers(0, 9)
)
def test_the_truth_lies_within_the_bounds_whenever_the_stock_was_read(sends, read_at, before):
    """A world of sends, read at any instants: the week's are counted from the sends themselves."""
    readings = [
        snapshot_at(
            at,
            before + sum(each <= at for each in sends),
            sum(each <= at and each.date() == at.date() for each in sends),
        )
        for at in read_at
    ]
    for week in (WEEK, WEEK.before):
        truth = sum(week.start <= each < week.end for each in sends)
        exact, least, most, why = sent(*readings, week=week)
        assert least <= truth
        assert most is None or truth <= most
        assert exact == (least if least == most else None)
        assert (why is None) == (exact is not None)
        assert (most is None) == (max(read_at) < week.end), "only a stock not read after the week has no upper bound"


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((108, 108, 100, 100), (0.08, 0.08)),
        ((120, 130, 100, 110), (10 / 110, 0.3)),
        ((80, 90, 100, 110), (80 / 110 - 1, -0.1)),
        ((95, 130, 100, 110), (None, None)),
        ((120, None, 100, 110), (None, None)),
        ((120, 130, None, None), (None, None)),
        ((120, 130, 0, 110), (None, None)),
    ],
)
def test_a_change_between_ranges_is_said_when_its_direction_is_known(bounds, expected):
    assert change_between(*bounds) == (
        None if expected[0] is None else pytest.approx(expected[0]),
        expected[1] and pytest.approx(expected[1]),
    )


@given(st.lists(st.integers(0, 300), min_size=4, max_size=4), st.data())
def test_the_true_change_lies_within_its_bounds(drawn, data):
    (least, most), (least_before, most_before) = sorted(drawn[:2]), sorted(drawn[2:])
    low, high = change_between(least, most, least_before, most_before)
    truth = change(data.draw(st.integers(least, most)), data.draw(st.integers(least_before, most_before)))[1]
    assert low is None or low <= truth <= high
    assert least != most or least_before != most_before or (low, high) == (truth, truth)


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
    row = week_limits(wx.quota_days(history), wx.daily_sends(history), day_limits(history), WEEK).iloc[0]
    assert (row["days_known"], row["days_hit"], row["days_idle"], row["hit_days"]) == (3, 1, 1, "11-16")
    assert row["used_share"] == pytest.approx(14 / 30)
    assert row["unused_count"] == 16


def test_face_value_is_never_added_up_across_bases():
    def used(*counts: int) -> pd.DataFrame:
        stocks = [str(n) for n in range(len(counts))]
        return pd.DataFrame({"stock_id": stocks, "used_count": counts})

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
