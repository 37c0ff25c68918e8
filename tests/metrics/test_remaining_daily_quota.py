"""remaining_daily_quota, sentence by sentence of design/metrics.md."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.frames import NOON, SHANGHAI, YESTERDAY, only, rows, stock, stocks
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import remaining_daily_quota

COLUMNS = {
    "product_coupon_id": "string",
    "stock_id": "string",
    "state": "string",
    "daily_left": "Int64",
    "total_left": "Int64",
    "codes_left": "Int64",
    "sendable_today": "Int64",
    "binding_limit": "string",
    "stale": "boolean",
    "age": "timedelta64[us]",
    "resets_at": "datetime64[us, Asia/Shanghai]",
    "as_of": "datetime64[us, Asia/Shanghai]",
}
MIDNIGHT = datetime(2025, 8, 2, tzinfo=SHANGHAI)


def quota(now: datetime = NOON, **columns: Any) -> dict[str, Any]:
    return only(remaining_daily_quota(stocks(stock(**columns)), now=now))


def bound(**columns: Any) -> tuple[int | None, str | None]:
    row = quota(**columns)
    return row["sendable_today"], row["binding_limit"]


@pytest.mark.parametrize("frame", [stocks(), stocks(stock(), stock("s2"))])
def test_one_row_a_stock_with_these_columns_in_these_dtypes(frame: Any) -> None:
    left = remaining_daily_quota(frame, now=NOON)
    assert {name: str(dtype) for name, dtype in left.dtypes.items()} == COLUMNS
    assert list(left.columns) == list(COLUMNS)
    assert len(left) == len(frame)


def test_a_hand_computed_row() -> None:
    row = quota(
        now=NOON + timedelta(hours=1),
        max_count=1000,
        sent=250,
        per_day=100,
        today=30,
        coupon_code_mode="UPLOAD",
        codes=80,
    )
    assert row == {
        "product_coupon_id": "p1",
        "stock_id": "s1",
        "state": "SENDING",
        "daily_left": 70,
        "total_left": 750,
        "codes_left": 80,
        "sendable_today": 70,
        "binding_limit": "daily",
        "stale": False,
        "age": timedelta(hours=1),
        "resets_at": datetime(2025, 8, 3, tzinfo=SHANGHAI),
        "as_of": NOON,
    }


def test_daily_left_is_null_when_there_is_no_daily_limit() -> None:
    assert quota(today=5)["daily_left"] is None
    assert quota(today=5, fetched_at=YESTERDAY)["daily_left"] is None


def test_daily_left_is_never_below_0() -> None:
    assert quota(per_day=10, today=12)["daily_left"] == 0


def test_a_row_of_an_earlier_beijing_day_has_the_whole_limit_again_and_is_stale() -> None:
    row = quota(per_day=10, today=9, fetched_at=YESTERDAY)
    assert (row["daily_left"], row["stale"]) == (10, True)


@pytest.mark.parametrize(
    ("fetched_at", "left", "stale"),
    [(MIDNIGHT, 1, False), (MIDNIGHT - timedelta(microseconds=1), 10, True)],
)
def test_the_day_turns_at_beijing_midnight(fetched_at: datetime, left: int, stale: bool) -> None:
    row = quota(per_day=10, today=9, fetched_at=fetched_at)
    assert (row["daily_left"], row["stale"]) == (left, stale)


def test_the_day_is_beijings_whatever_zone_now_is_given_in() -> None:
    late = datetime(2025, 8, 1, 16, 30, tzinfo=UTC)  # already 00:30 of August 2 in Beijing
    row = quota(now=late, per_day=10, today=9, fetched_at=YESTERDAY)
    assert (row["stale"], row["daily_left"]) == (True, 10)
    assert row["resets_at"] == datetime(2025, 8, 3, tzinfo=SHANGHAI)


def test_stale_says_that_the_row_is_of_an_earlier_day_also_without_a_daily_limit() -> None:
    assert quota(fetched_at=YESTERDAY)["stale"] is True


def test_a_daily_limit_with_an_unknown_count_leaves_an_unknown_rest() -> None:
    assert quota(per_day=10)["daily_left"] is None


def test_a_now_on_an_earlier_beijing_day_is_refused() -> None:
    with pytest.raises(ValidationError, match="earlier Beijing day than stock 's1'"):
        quota(now=YESTERDAY, per_day=10, today=9)


def test_a_row_fetched_at_the_next_midnight_is_of_the_next_day() -> None:
    with pytest.raises(ValidationError, match="earlier Beijing day"):
        quota(now=NOON, fetched_at=datetime(2025, 8, 3, tzinfo=SHANGHAI))
    just_before = datetime(2025, 8, 3, tzinfo=SHANGHAI) - timedelta(microseconds=1)
    assert quota(now=NOON, fetched_at=just_before)["stale"] is False


@pytest.mark.parametrize(
    ("limit", "used", "left"),
    [(2**63 - 1, -1, None), (2**63 - 1, 0, 2**63 - 1), (-(2**63), 1, 0), (-1, 2**63 - 1, 0), (-1, -5, 4)],
)
def test_what_is_left_never_wraps_around(limit: int, used: int, left: int | None) -> None:
    row = quota(max_count=limit, sent=used, per_day=limit, today=used)
    assert (row["total_left"], row["daily_left"]) == (left, left)


def test_a_now_a_little_before_the_fetch_on_the_same_day_is_a_negative_age() -> None:
    assert quota(now=NOON - timedelta(seconds=2))["age"] == timedelta(seconds=-2)


def test_a_naive_now_is_refused_with_the_fix() -> None:
    with pytest.raises(ValidationError, match=r"ZoneInfo\(\"Asia/Shanghai\"\)"):
        remaining_daily_quota(stocks(stock()), now=datetime(2025, 8, 2))  # noqa: DTZ001


def test_now_defaults_to_the_present() -> None:
    before = datetime.now(SHANGHAI)
    age = only(remaining_daily_quota(stocks(stock(fetched_at=before))))["age"]
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_a_row_that_does_not_say_when_it_was_fetched_is_refused() -> None:
    with pytest.raises(ValidationError, match="fetched_at is null for stock 's1'"):
        quota(fetched_at=None)


@pytest.mark.parametrize("mode", ["WECHATPAY", "API_ASSIGN", None])
def test_codes_count_for_upload_stocks_only(mode: str | None) -> None:
    assert quota(codes=5, coupon_code_mode=mode)["codes_left"] is None
    assert quota(codes=5, coupon_code_mode="UPLOAD")["codes_left"] == 5


def test_total_left_is_never_below_0() -> None:
    assert quota(max_count=10, sent=11)["total_left"] == 0


def test_what_can_be_sent_is_the_least_limit_known_and_says_which() -> None:
    upload = {"coupon_code_mode": "UPLOAD"}
    assert bound(max_count=9, sent=0, per_day=5, today=0, codes=7, **upload) == (5, "daily")
    assert bound(max_count=9, sent=5, per_day=5, today=0, codes=7, **upload) == (4, "total")
    assert bound(max_count=9, sent=5, per_day=5, today=0, codes=3, **upload) == (3, "codes")
    assert bound(codes=3, **upload) == (3, "codes")


def test_ties_are_named_in_the_order_state_daily_total_codes() -> None:
    upload = {"coupon_code_mode": "UPLOAD", "codes": 5, "max_count": 5, "sent": 0}
    assert bound(per_day=5, today=0, **upload) == (5, "daily")
    assert bound(**upload) == (5, "total")
    assert bound(state="PAUSED", max_count=5, sent=5, per_day=0, today=0) == (0, "state")


def test_null_when_none_is_known() -> None:
    assert bound() == (None, None)


@pytest.mark.parametrize("state", ["AUDITING", "PAUSED", "STOPPED", "DEACTIVATED", "SOMETHING_NEW", None])
def test_nothing_can_be_sent_unless_the_state_is_sending(state: str | None) -> None:
    assert bound(state=state, max_count=5, sent=0) == (0, "state")
    assert bound(state=state) == (0, "state")


def test_a_stock_history_is_refused_with_what_to_pass() -> None:
    with pytest.raises(ValidationError, match=r"store.load\('stocks'\)"):
        remaining_daily_quota(stocks(stock(), stock()), now=NOON)


def test_two_brands_may_use_one_stock_id() -> None:
    frame = stocks(stock(brand_id="b1", per_day=1, today=0), stock(brand_id="b2", per_day=2, today=0))
    assert [row["daily_left"] for row in rows(remaining_daily_quota(frame, now=NOON))] == [1, 2]


count = st.none() | st.integers(0, 50)


@settings(deadline=None)
@given(max_count=count, sent=count, per_day=count, today=count, codes=count, day=st.integers(0, 3))
def test_never_more_than_any_limit_and_exactly_the_one_that_binds(day: int, **columns: int | None) -> None:
    row = quota(fetched_at=NOON - timedelta(days=day), coupon_code_mode="UPLOAD", **columns)
    limits = {name: row[f"{name}_left"] for name in ("daily", "total", "codes") if row[f"{name}_left"] is not None}
    assert row["sendable_today"] == min(limits.values(), default=None)
    assert row["binding_limit"] == min(limits, key=lambda name: limits[name], default=None)
    assert row["stale"] is (day > 0)
