"""daily_sends, sentence by sentence of design/metrics.md."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.frames import SHANGHAI, rows, stock, stocks
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import daily_sends

COLUMNS = {
    "product_coupon_id": "string",
    "stock_id": "string",
    "day": "date32[day][pyarrow]",
    "days_covered": "Int64",
    "sends": "Int64",
    "sends_at_least": "Int64",
    "complete": "boolean",
    "anomaly": "boolean",
    "as_of": "datetime64[us, Asia/Shanghai]",
}


def at(day: int, hour: float = 10) -> datetime:
    return datetime(2025, 8, day, tzinfo=SHANGHAI) + timedelta(hours=hour)


def read(day: int, total: int | None, today: int | None, hour: float = 10, **more: Any) -> dict[str, Any]:
    return stock(**{"sent": total, "today": today, "fetched_at": at(day, hour), **more})


def sends(*readings: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (row["day"] and row["day"].day, row["days_covered"], row["sends"], row["sends_at_least"], row["complete"])
        for row in rows(daily_sends(stocks(*readings)))
    ]


def test_a_hand_computed_history_with_a_gap() -> None:
    """Starts: 30 − 5 = 25 on the 1st, 50 − 12 = 38 on the 2nd, 80 − 1 = 79 on the 5th."""
    assert sends(read(1, 30, 5), read(2, 50, 12, hour=23), read(5, 80, 1)) == [
        (None, None, 25, None, True),
        (1, 1, 13, 5, True),
        (2, 3, 41, 12, True),
        (5, 1, 1, 1, False),
    ]


def test_columns_and_dtypes_also_of_nothing() -> None:
    for frame in (stocks(read(1, 30, 5)), stocks()):
        result = daily_sends(frame)
        assert {name: str(dtype) for name, dtype in result.dtypes.items()} == COLUMNS
        assert list(result.columns) == list(COLUMNS)


def test_one_snapshot_gives_what_was_before_it_and_the_running_day() -> None:
    assert sends(read(1, 30, 5)) == [(None, None, 25, None, True), (1, 1, 5, 5, False)]


def test_as_of_is_the_latest_snapshot_a_row_rests_on() -> None:
    result = rows(daily_sends(stocks(read(1, 30, 5), read(2, 50, 12))))
    assert [row["as_of"].day for row in result] == [1, 2, 2]


def test_of_several_snapshots_in_a_day_the_last_counts_in_whatever_order_they_come() -> None:
    readings = [read(1, 30, 5), read(1, 33, 8, hour=23), read(1, 26, 1, hour=1), read(2, 40, 3)]
    expected = [(None, None, 25, None, True), (1, 1, 12, 8, True), (2, 1, 3, 3, False)]
    for seed in range(4):
        random.Random(seed).shuffle(readings)
        assert sends(*readings) == expected


def test_the_day_is_beijings_to_the_second() -> None:
    """23:59:59 belongs to its day and 00:00:00 to the next, whatever zone the column is in."""
    frame = stocks(read(1, 30, 5, hour=24 - 1 / 3600), read(2, 30, 0, hour=0))
    in_utc = frame.assign(fetched_at=frame["fetched_at"].dt.tz_convert("UTC"))
    for given_ in (frame, in_utc):
        assert [(row["day"], row["sends"]) for row in rows(daily_sends(given_))] == [
            (None, 25),
            (date(2025, 8, 1), 5),
            (date(2025, 8, 2), 0),
        ]


def test_a_counter_that_went_backwards_is_an_anomaly_and_not_negative_sends() -> None:
    """The 2nd begins at 20, but 30 were already sent on the 1st: nothing is known of that day but the 5 seen."""
    result = rows(daily_sends(stocks(read(1, 30, 5), read(2, 22, 2), read(3, 40, 1))))
    assert [(row["sends"], row["sends_at_least"], row["anomaly"]) for row in result] == [
        (25, None, False),
        (None, 5, True),
        (19, 2, False),
        (1, 1, False),
    ]


def test_more_sent_today_than_ever_is_an_anomaly() -> None:
    first, running = rows(daily_sends(stocks(read(1, 3, 5))))
    assert (first["sends"], first["anomaly"], running["sends"]) == (None, True, 5)


@pytest.mark.parametrize(
    "missing",
    [
        {"sent": None},
        {"today": None},
        {"stock_id": None},
        {"product_coupon_id": None},
        {"sent": -(2**63)},
        {"today": -1},
    ],
)
def test_a_reading_that_lacks_a_counter_or_an_id_says_nothing(missing: dict[str, Any]) -> None:
    silent = stock(**{"sent": 50, "today": 12, "fetched_at": at(2), **missing})
    assert sends(read(1, 30, 5), silent, read(3, 60, 4)) == [
        (None, None, 25, None, True),
        (1, 2, 31, 5, True),
        (3, 1, 4, 4, False),
    ]


def test_stocks_of_two_brands_and_of_two_product_coupons_do_not_mix() -> None:
    one = [read(1, 30, 5), read(2, 50, 12)]
    for other in ({"brand_id": "b2"}, {"brand_id": None}, {"product_coupon_id": "p2"}, {"stock_id": "s2"}):
        both = sends(*one, *(reading | other for reading in (read(1, 7, 7), read(2, 8, 1))))
        assert sorted(both, key=repr) == sorted(
            [*sends(*one), (None, None, 0, None, True), (1, 1, 7, 7, True), (2, 1, 1, 1, False)], key=repr
        )


def test_a_frame_without_brands_is_of_one() -> None:
    frame = stocks(read(1, 30, 5), read(2, 50, 12))
    pd.testing.assert_frame_equal(daily_sends(frame.drop(columns="brand_id")), daily_sends(frame))


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (stocks(read(1, 30, 5, fetched_at=None)), "fetched_at is null for stock 's1'.*store.history"),
        (stocks(read(1, 30, 5)).drop(columns="sent_count_info_today_count"), "lacks sent_count_info_today_count"),
        (stocks(read(1, 30, 5)).astype({"stock_id": object}).assign(stock_id=1.5), "ids that went through a float"),
        (stocks(read(1, 30, 5)).assign(fetched_at=pd.Timestamp("2025-08-01")), "not an aware time"),
    ],
)
def test_what_cannot_be_placed_is_refused(frame: pd.DataFrame, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        daily_sends(frame)


instants = st.integers(0, 20 * 24 * 60).map(lambda minutes: at(1, 0) + timedelta(minutes=minutes))


@settings(deadline=None, max_examples=30)
@given(
    sent=st.lists(instants, max_size=60),
    read_at=st.lists(instants, min_size=1, max_size=25),
    before=st.integers(0, 1000),
    chance=st.randoms(),
)
def test_the_sends_are_those_that_happened_whenever_the_snapshots_were_taken(
    sent: list[datetime], read_at: list[datetime], before: int, chance: random.Random
) -> None:
    """A world of sends, read at any instants: every row is counted again from the sends themselves."""
    history = [
        stock(
            fetched_at=instant,
            sent=before + sum(each <= instant for each in sent),
            today=sum(each <= instant and each.date() == instant.date() for each in sent),
        )
        for instant in read_at
    ]
    chance.shuffle(history)
    result = rows(daily_sends(stocks(*history)))
    assert sum(row["sends"] for row in result) == before + sum(each <= max(read_at) for each in sent)
    assert not any(row["anomaly"] for row in result)
    first, *days = result
    assert first["sends"] == before + sum(each.date() < days[0]["day"] for each in sent)
    for row in days:
        end = row["day"] + timedelta(days=row["days_covered"])
        known = [each for each in sent if each <= row["as_of"] and row["day"] <= each.date() < end]
        assert row["sends"] == len(known)
        assert row["sends_at_least"] <= row["sends"]
    assert [row["complete"] for row in days] == [True] * (len(days) - 1) + [False]
    assert all(
        row["day"] + timedelta(days=row["days_covered"]) == following["day"] for row, following in pairwise(days)
    )


counts = st.none() | st.integers(0, 40)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 23), counts, counts, st.sampled_from("ab")), max_size=15))
def test_no_history_however_broken_gives_negative_sends(drawn: list[tuple[Any, ...]]) -> None:
    history = [read(day, total, today, hour, stock_id=stock_id) for day, hour, total, today, stock_id in drawn]
    for row in rows(daily_sends(stocks(*history))):
        assert row["anomaly"] is (row["sends"] is None)
        assert row["sends"] is None or row["sends"] >= 0
