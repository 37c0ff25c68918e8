"""quota_days, pace and exhaustion_forecast, sentence by sentence of design/metrics.md."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.frames import SHANGHAI, only, rows, stock, stocks
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import exhaustion_forecast, pace, quota_days

PERIOD = "single_usage_rule_coupon_available_period_available"
NOW = datetime(2025, 8, 20, 12, tzinfo=SHANGHAI)


def midnight(day: int) -> datetime:
    return datetime(2025, 8, 1, tzinfo=SHANGHAI) + timedelta(days=day - 1)


def noons(
    sends: list[int], *, last: datetime = NOW, today: int = 0, start: int = 0, **more: Any
) -> list[dict[str, Any]]:
    """Readings at every noon up to the last: so many sent on each day before it, all before noon, and today's."""
    days = [*sends, today]
    return [
        stock(
            **{
                "fetched_at": last - timedelta(days=len(sends) - index),
                "sent": start + sum(days[: index + 1]),
                "today": sent,
                "max_count": 10_000,
                **more,
            }
        )
        for index, sent in enumerate(days)
    ]


# quota_days ---------------------------------------------------------------------------------------------------------


def test_the_share_of_the_daily_limit_used_and_whether_it_was_hit() -> None:
    result = rows(quota_days(stocks(*noons([50, 100, 120], today=7, per_day=100))))
    assert [(row["day"].day, row["sends"], row["used_share"], row["hit"]) for row in result] == [
        (17, 50, 0.5, False),
        (18, 100, 1.0, True),
        (19, 120, 1.2, True),
    ]
    assert list(result[0]) == [
        "product_coupon_id",
        "stock_id",
        "day",
        "max_count_per_day",
        "sends",
        "used_share",
        "hit",
        "as_of",
    ]


def test_only_days_known_exactly_count() -> None:
    """Not the running day, not an interval of two days, not an anomaly, not what was before."""
    readings = noons([10, 20, 30, 40, 50], today=60, per_day=100)
    gap = [reading for index, reading in enumerate(readings) if index != 2]
    assert [row["sends"] for row in rows(quota_days(stocks(*gap)))] == [10, 40, 50]
    broken = [*readings[:3], readings[3] | {"sent_count_info_total_count": 5}, *readings[4:]]
    assert 30 not in [row["sends"] for row in rows(quota_days(stocks(*broken)))]


def test_days_without_a_limit_are_left_out_and_a_limit_of_0_has_no_share() -> None:
    assert rows(quota_days(stocks(*noons([1, 2])))) == []
    assert [(row["used_share"], row["hit"]) for row in rows(quota_days(stocks(*noons([0, 0], per_day=0))))] == [
        (None, True),
        (None, True),
    ]


def test_the_limit_is_that_of_the_days_last_snapshot() -> None:
    first, second = noons([50], today=1, per_day=100)
    raised = first | {"stock_send_rule_max_count_per_day": 200, "fetched_at": first["fetched_at"] + timedelta(hours=2)}
    assert only(quota_days(stocks(first, second, raised)))["max_count_per_day"] == 200


@pytest.mark.parametrize(
    ("limits", "sends", "seen", "hit"),
    [
        ((10, 10, 10), 10, 4, True),
        ((10, 10, 10), 9, 4, False),
        ((10, 10, 20), 20, 4, True),  # raised after the reading, and the higher one was reached
        ((10, 10, 20), 15, 4, None),  # the limit was 10 until some hour, and 20 later
        ((10, 10, 20), 9, 4, False),
        ((20, 20, 10), 15, 4, None),  # lowered: was it 20 all day, or 10 at the end?
        ((10, 20, 20), 15, 3, False),  # raised before the reading, when few had been sent
        ((10, 20, 20), 15, 12, None),  # or when the lower one may have been reached
        ((10, 10, None), 10, 4, None),  # lifted at an unknown hour
        ((10, 10, None), 9, 4, False),
        ((None, 10, 10), 10, 4, True),
    ],
)
def test_a_day_on_which_the_limit_was_changed_was_hit_only_if_every_hour_of_the_change_says_so(
    limits: tuple[int | None, ...], sends: int, seen: int, hit: bool | None
) -> None:
    totals, todays = (5, 5 + seen, 5 + sends), (5, seen, 0)
    readings = [
        stock(fetched_at=midnight(day) + timedelta(hours=12), max_count=1000, per_day=limit, sent=sent, today=today)
        for day, limit, sent, today in zip((17, 18, 19), limits, totals, todays, strict=True)
    ]
    of_day = {row["day"].day: row["hit"] for row in rows(quota_days(stocks(*readings)))}
    assert of_day[18] is hit


def test_every_snapshot_of_a_day_tells_of_its_limit() -> None:
    def hits(*readings: tuple[int, int, int | None, int, int]) -> dict[int, bool | None]:
        told = [
            stock(
                fetched_at=midnight(day) + timedelta(hours=hour), max_count=1000, per_day=limit, sent=sent, today=today
            )
            for day, hour, limit, sent, today in readings
        ]
        return {row["day"].day: row["hit"] for row in rows(quota_days(stocks(*told)))}

    # Seen at its limit, which was raised in the evening.
    raised = [(17, 12, 200, 0, 0), (18, 12, 50, 50, 50), (18, 20, 200, 60, 60), (19, 12, 200, 60, 0)]
    assert hits(*raised) == {17: False, 18: True}
    # Lowered after the noon of the one day and raised again before that of the other: what was read between counts.
    lowered = [(17, 12, 200, 0, 0), (18, 8, 20, 15, 15), (18, 20, 200, 60, 60), (19, 12, 200, 60, 0)]
    assert hits(*lowered) == {17: False, 18: None}
    # Lifted on the first day, or after it; the limit that was set in the next evening is none of that day's.
    lifted = [(17, 12, 10, 5, 5), (18, 8, None, 30, 0), (18, 20, 8, 34, 4), (19, 12, 8, 34, 0)]
    assert hits(*lifted) == {17: None, 18: False}


# pace ---------------------------------------------------------------------------------------------------------------


def test_the_sent_share_against_the_elapsed_share_of_the_stocks_own_period() -> None:
    period = {f"{PERIOD}_begin_time": midnight(1), f"{PERIOD}_end_time": midnight(11)}
    readings = [
        stock(fetched_at=midnight(day), max_count=1000, sent=sent, today=0, **period)
        for day, sent in ((3, 100), (6, 600))
    ]
    assert [
        (row["day"].day, row["sent_share"], row["elapsed_share"], row["pace"]) for row in rows(pace(stocks(*readings)))
    ] == [
        (3, 0.1, 0.2, 0.5),
        (6, 0.6, 0.5, 1.2),
    ]


@pytest.mark.parametrize("mode", ["sequential_usage_rule", "progressive_bundle_usage_rule"])
def test_the_period_is_found_in_every_usage_mode(mode: str) -> None:
    stem = f"{mode}_coupon_available_period_available"
    row = only(
        pace(
            stocks(
                stock(
                    fetched_at=midnight(2),
                    sent=1,
                    today=0,
                    max_count=4,
                    **{f"{stem}_begin_time": midnight(1), f"{stem}_end_time": midnight(3)},
                )
            )
        )
    )
    assert (row["sent_share"], row["elapsed_share"], row["pace"]) == (0.25, 0.5, 0.5)


@pytest.mark.parametrize(
    ("begin", "end", "elapsed"),
    [(5, 9, 0.0), (1, 2, 1.0), (None, 9, None), (1, None, None), (3, 3, None), (9, 1, None)],
)
def test_before_and_after_the_period_and_without_one(begin: int | None, end: int | None, elapsed: float | None) -> None:
    period = {f"{PERIOD}_{side}_time": day and midnight(day) for side, day in (("begin", begin), ("end", end))}
    row = only(pace(stocks(stock(fetched_at=midnight(3), sent=1, today=0, max_count=4, **period))))
    assert row["elapsed_share"] == elapsed
    assert row["pace"] == (0.25 / elapsed if elapsed else None)


@pytest.mark.parametrize("max_count", [None, 0])
def test_no_budget_no_share(max_count: int | None) -> None:
    assert only(pace(stocks(stock(sent=1, today=0, max_count=max_count))))["sent_share"] is None


# exhaustion_forecast ------------------------------------------------------------------------------------------------


def forecast(*readings: dict[str, Any], **options: Any) -> dict[str, Any]:
    return only(exhaustion_forecast(stocks(*readings), **{"now": NOW, **options}))


def test_a_hand_computed_forecast() -> None:
    """100 a day, 540 left at noon of the 20th of which 40 went today: 60 more today, then 100 a day until the 25th."""
    row = forecast(*noons([100] * 7, today=40, start=8720))
    assert (row["remaining_count"], row["days_known"], row["rate_per_day"], row["days_left"]) == (540, 7, 100.0, 5.4)
    assert row["expected_date"] == row["low_date"] == row["high_date"] == date(2025, 8, 25)
    assert row["reason"] is None


def test_it_ends_today_when_today_will_bring_what_is_missing() -> None:
    assert forecast(*noons([100] * 7, today=40, start=9200))["expected_date"] == date(2025, 8, 20)
    assert forecast(*noons([100] * 7, today=40, start=9199))["expected_date"] == date(2025, 8, 21)


def test_low_and_high_hold_the_expected_date_between_them_and_are_the_same_every_time() -> None:
    readings = noons([10, 200, 40, 160, 20, 180, 90], today=0, start=7300)
    row = forecast(*readings)
    assert row["low_date"] < row["expected_date"] < row["high_date"]
    assert forecast(*readings) == row


def test_low_and_high_are_the_tenths_of_the_resamples() -> None:
    """Three days, 0 or 100, and three of 100 needed: the day of the third head, of a coin that three throws told of."""
    row = forecast(*noons([0, 100, 100], today=0, start=9500))
    chance = np.random.default_rng(1)
    heads = chance.binomial(3, 2 / 3, 200_000)
    tails = np.where(heads > 0, chance.negative_binomial(3, np.maximum(heads, 1) / 3), 999)
    low, high = np.quantile(2 + tails, [0.1, 0.9])  # tails before the third head, from today on
    assert row["low_date"] == date(2025, 8, 20) + timedelta(days=int(low))
    assert row["high_date"] == date(2025, 8, 20) + timedelta(days=int(high))


@pytest.mark.parametrize("days_ahead", [7, 28])
def test_low_and_high_hold_the_day_eight_times_in_ten_where_days_stay_as_they_are(days_ahead: int) -> None:
    """Not more by much, either; whole days hold a little more than their tenths."""
    chance, today = np.random.default_rng(8), NOW.replace(hour=0)
    readings, truth = [], {}
    for number in range(300):
        sends = np.rint(600 * chance.lognormal(0, 0.2, size=7 + 4 * days_ahead)).astype(int)
        budget = int(sends[:7].sum() + sends[:7].mean() * days_ahead * chance.uniform(0.8, 1.2))
        truth[f"s{number}"] = today.date() + timedelta(days=int((sends.cumsum() >= budget).argmax()) - 7)
        readings += [
            stock(
                f"s{number}",
                sent=int(sends[:day].sum()),
                today=0,
                max_count=budget,
                fetched_at=today - timedelta(7 - day),
            )
            for day in range(8)
        ]
    result = rows(exhaustion_forecast(stocks(*readings), now=today))
    held = [row["low_date"] <= truth[row["stock_id"]] <= row["high_date"] for row in result]
    assert 0.78 < np.mean(held) < 0.94


def test_the_daily_limit_is_respected_as_it_is_now() -> None:
    row = forecast(*noons([100] * 7, today=50, start=8950, per_day=50))
    assert (row["rate_per_day"], row["remaining_count"]) == (50.0, 300)
    assert row["expected_date"] == date(2025, 8, 26)  # none is left today


def test_a_window_looks_at_its_days_only() -> None:
    readings = noons([1000] * 3 + [10] * 7, start=0)
    assert forecast(*readings)["rate_per_day"] == 10
    assert forecast(*readings, window_days=10)["rate_per_day"] == 307
    assert forecast(*readings, window_days=2)["days_known"] == 2


def test_days_that_are_not_known_exactly_are_not_days() -> None:
    readings = noons([10, 20, 30, 40, 50, 60, 70])
    row = forecast(*readings[:2], *readings[4:])
    assert (row["days_known"], row["rate_per_day"]) == (4, 47.5)  # 10, 50, 60 and 70


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        (noons([10] * 7, max_count=None), "no_limit"),
        (noons([10] * 7, max_count=70), "exhausted"),
        (noons([10] * 7, state="PAUSED"), "not_sending"),
        (noons([10] * 7, state=None), "not_sending"),
        (noons([10] * 7, **{f"{PERIOD}_end_time": NOW - timedelta(hours=1)}), "not_sending"),
        (noons([10]), "too_few_days"),
        (noons([10] * 7, last=NOW - timedelta(days=9)), "too_few_days"),
        (noons([0] * 7), "no_sends"),
        (noons([10] * 7, per_day=0), "no_sends"),
        (noons([10] * 7, **{f"{PERIOD}_end_time": NOW + timedelta(days=30)}), "outlasts_sending"),
        (noons([10] * 7, max_count=100_000), "outlasts_sending"),
    ],
)
def test_no_date_comes_with_its_reason(readings: list[dict[str, Any]], reason: str) -> None:
    row = forecast(*readings)
    assert (row["expected_date"], row["reason"]) == (None, reason)
    if reason not in ("outlasts_sending", "no_sends"):
        assert (row["rate_per_day"], row["days_left"]) == (None, None)


def test_no_date_lies_after_the_end_of_sending_or_before_now() -> None:
    ends = NOW + timedelta(days=5, hours=3)
    row = forecast(*noons([0, 200] * 4, today=0, start=8500, **{f"{PERIOD}_end_time": ends}))
    assert row["sending_ends"] == ends
    assert row["low_date"] <= ends.date()
    assert (row["expected_date"], row["high_date"], row["reason"]) == (None, None, "outlasts_sending")
    stale = forecast(*noons([100] * 7, last=NOW - timedelta(days=4), start=9250))
    assert stale["expected_date"] == NOW.date()


def test_a_day_that_begins_as_sending_ends_is_no_day_of_sending() -> None:
    at_midnight = noons(
        [100] * 7, start=8800, **{f"{PERIOD}_end_time": midnight(25)}
    )  # 500 remain, 100 a day from the 20th
    row = forecast(*at_midnight)
    assert (row["expected_date"], row["reason"]) == (date(2025, 8, 24), None)
    one_more = forecast(*noons([100] * 7, start=8799, **{f"{PERIOD}_end_time": midnight(25)}))
    assert (one_more["expected_date"], one_more["high_date"], one_more["reason"]) == (None, None, "outlasts_sending")


def test_what_was_read_after_now_is_not_known_yet() -> None:
    readings = noons([100] * 10, today=40)
    early = NOW - timedelta(days=3)
    assert forecast(*readings, now=early)["as_of"] == early
    assert forecast(*readings, now=early) == forecast(*readings[:-3], now=early)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "7"])
def test_a_window_is_a_number_of_days(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="window_days"):
        exhaustion_forecast(stocks(), now=NOW, window_days=wrong)


def test_a_naive_now_is_refused() -> None:
    with pytest.raises(ValidationError, match="names no time zone"):
        exhaustion_forecast(stocks(), now=datetime(2025, 8, 20))  # noqa: DTZ001


def test_two_brands_do_not_mix() -> None:
    both = [*noons([10] * 7), *noons([100] * 7, brand_id="b2")]
    assert sorted(row["rate_per_day"] for row in rows(exhaustion_forecast(stocks(*both), now=NOW))) == [10, 100]
    assert sorted(
        row["sends"] for row in rows(quota_days(stocks(*noons([1], per_day=9), *noons([2], per_day=9, brand_id="b2"))))
    ) == [1, 2]
    assert len(rows(pace(stocks(*both)))) == 16


@settings(deadline=None, max_examples=30)
@given(
    sends=st.lists(st.integers(0, 50), max_size=9),
    today=st.integers(0, 60),
    limit=st.none() | st.integers(0, 60),
    budget=st.none() | st.integers(0, 2000),
    ends=st.none() | st.integers(-3, 60),
)
def test_a_forecast_is_a_date_within_sending_or_a_reason(
    sends: list[int], today: int, limit: int | None, budget: int | None, ends: int | None
) -> None:
    end = None if ends is None else NOW + timedelta(days=ends)
    row = forecast(*noons(sends, today=today, per_day=limit, max_count=budget, **{f"{PERIOD}_end_time": end}))
    assert (row["expected_date"] is None) == (row["reason"] is not None)
    dates = [row[name] for name in ("low_date", "expected_date", "high_date") if row[name] is not None]
    assert all(NOW.date() <= each and (end is None or each <= end.date()) for each in dates)
    assert row["low_date"] is None or row["high_date"] is None or row["low_date"] <= row["high_date"]
    if limit is not None and row["rate_per_day"] is not None:
        assert row["rate_per_day"] <= limit
