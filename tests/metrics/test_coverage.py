"""coverage, sentence by sentence of design/metrics.md."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.metrics.frames import NOON, as_engine, coupon, only, rows, stock, stocks, user_coupons
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import coverage


def known(*coupons: dict[str, Any], **columns: Any) -> tuple[int, int | None, float | None]:
    row = only(coverage(user_coupons(*coupons), stocks(stock(**{"sent": 8, **columns}))))
    return row["known_count"], row["sent_count"], row["coverage"]


def test_known_of_sent_each_coupon_once() -> None:
    history = [coupon("A", "PENDING", NOON - timedelta(days=1)), coupon("A", "USED"), coupon("B", "USED")]
    assert known(*history) == (2, 8, 0.25)
    row = only(coverage(user_coupons(*history), stocks(stock(sent=8))))
    assert list(row) == ["product_coupon_id", "stock_id", "known_count", "sent_count", "coverage", "as_of"]
    assert row["as_of"] == NOON


def test_coupons_received_after_the_stock_was_read_are_not_among_those_it_counted() -> None:
    times = [None, NOON - timedelta(days=1), NOON, NOON + timedelta(seconds=1)]
    assert known(*(coupon(str(number), "USED", receive_time=time) for number, time in enumerate(times))) == (
        3,
        8,
        0.375,
    )


def test_a_stock_of_which_nothing_is_known_and_one_of_which_only_coupons_are() -> None:
    result = rows(coverage(user_coupons(coupon("A", "USED", stock_id="s9")), stocks(stock("s1", sent=5))))
    assert [(row["stock_id"], row["known_count"], row["sent_count"], row["coverage"]) for row in result] == [
        ("s1", 0, 5, 0.0),
        ("s9", 1, None, None),
    ]
    assert rows(coverage(user_coupons(), stocks())) == []


@pytest.mark.parametrize("sent", [0, None])
def test_nothing_sent_is_no_share(sent: int | None) -> None:
    assert known(coupon("A", "USED"), sent=sent) == (1, sent, None)


def test_rows_without_a_code_count_and_those_without_a_stock_belong_to_none() -> None:
    lost = [coupon("A", "USED") | {"coupon_code": None}] * 2 + [coupon("B", "USED", stock_id=None)]
    assert known(*lost) == (2, 8, 0.25)


def test_two_brands_stocks_of_one_id_do_not_mix() -> None:
    coupons = user_coupons(
        *(coupon(code, "USED", brand_id=brand) for code, brand in (("A", "b1"), ("B", "b2"), ("C", "b2"), ("D", None)))
    )
    frame = stocks(*(stock(sent=sent, brand_id=brand) for sent, brand in ((1, "b1"), (4, "b2"), (8, None))))
    assert sorted(row["coverage"] for row in rows(coverage(coupons, frame))) == [0.125, 0.5, 1.0]
    assert only(coverage(coupons.drop(columns="brand_id"), frame.head(1)))["known_count"] == 4


def test_a_stock_history_is_refused() -> None:
    with pytest.raises(ValidationError, match="several rows of one key"):
        coverage(user_coupons(), stocks(stock(sent=1), stock(sent=2)))


def test_the_frames_may_be_of_different_engines() -> None:
    coupons, frame = user_coupons(coupon("A", "USED")), stocks(stock(sent=4))
    assert rows(coverage(as_engine("duckdb", "user_coupons", coupons), as_engine("polars", "stocks", frame))) == rows(
        coverage(coupons, frame)
    )
