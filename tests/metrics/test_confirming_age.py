"""confirming_age, sentence by sentence of design/metrics.md."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.metrics.frames import NOON, coupon, only, rows, user_coupons
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import confirming_age

COLUMNS = {
    "product_coupon_id": "string",
    "stock_id": "string",
    "coupon_code": "string",
    "openid": "string",
    "appid": "string",
    "receive_time": "datetime64[us, Asia/Shanghai]",
    "valid_begin_time": "datetime64[us, Asia/Shanghai]",
    "valid_end_time": "datetime64[us, Asia/Shanghai]",
    "age": "timedelta64[us]",
    "burnt_share": "Float64",
    "as_of": "datetime64[us, Asia/Shanghai]",
}


def stuck(code: str = "A", **columns: Any) -> dict[str, Any]:
    return coupon(code, **{"state": "CONFIRMING", "receive_time": NOON - timedelta(days=3), **columns})


def test_columns_and_dtypes_also_of_nothing() -> None:
    for frame in (user_coupons(stuck()), user_coupons()):
        result = confirming_age(frame, now=NOON)
        assert {name: str(dtype) for name, dtype in result.dtypes.items()} == COLUMNS


def test_how_long_and_how_much_of_the_validity_has_burnt() -> None:
    begin, end = NOON - timedelta(days=3), NOON + timedelta(days=7)
    row = only(
        confirming_age(user_coupons(stuck(valid_begin_time=begin, valid_end_time=end)), now=NOON + timedelta(hours=12))
    )
    assert (row["age"], row["burnt_share"], row["as_of"]) == (timedelta(days=3.5), 0.35, NOON)


@pytest.mark.parametrize(
    ("begin", "end", "burnt"),
    [(1, 5, 0.0), (-5, -1, 1.0), (0, 4, 0.0), (None, 4, None), (-4, None, None), (1, 1, None)],
)
def test_the_share_burnt_stays_within_0_and_1(begin: int | None, end: int | None, burnt: float | None) -> None:
    times = {
        f"valid_{side}_time": None if day is None else NOON + timedelta(days=day)
        for side, day in (("begin", begin), ("end", end))
    }
    assert only(confirming_age(user_coupons(stuck(**times)), now=NOON))["burnt_share"] == burnt


def test_only_coupons_whose_latest_reading_is_confirming_the_longest_waiting_first() -> None:
    frame = user_coupons(
        stuck("young", receive_time=NOON - timedelta(hours=1)),
        stuck("old"),
        stuck("done", fetched_at=NOON - timedelta(days=1)),
        coupon("done", "EFFECTIVE"),
        coupon("none", "USED"),
        stuck("undated", receive_time=None),
        stuck("old", brand_id="b2", receive_time=NOON - timedelta(days=4)),
    )
    assert [row["coupon_code"] for row in rows(confirming_age(frame, now=NOON))] == ["old", "old", "young", "undated"]


def test_now_on_an_earlier_day_than_the_reading_is_refused_and_so_is_a_naive_one() -> None:
    with pytest.raises(ValidationError, match="earlier Beijing day.*pass a later now"):
        confirming_age(user_coupons(stuck()), now=NOON - timedelta(days=1))
    with pytest.raises(ValidationError, match="names no time zone"):
        confirming_age(user_coupons(stuck()), now=datetime(2025, 8, 2))  # noqa: DTZ001


def test_by_default_ages_are_taken_at_present() -> None:
    assert only(confirming_age(user_coupons(stuck())))["age"] > timedelta(days=90)
