"""budget_use, sentence by sentence of design/metrics.md."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.frames import NOON, only, product_coupon, product_coupons, rows, stock, stocks
from wxcoupon_analytics.entities.flatten import flatten
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import budget_use

COLUMNS = {
    "product_coupon_id": "string",
    "stock_id": "string",
    "name": "string",
    "remark": "string",
    "state": "string",
    "max_count": "Int64",
    "sent_count": "Int64",
    "remaining_count": "Int64",
    "sent_share": "Float64",
    "max_count_per_day": "Int64",
    "sent_today": "Int64",
    "discount_fen": "Int64",
    "discount_basis": "string",
    "sent_value_fen": "Int64",
    "budget_value_fen": "Int64",
    "as_of": "datetime64[us, Asia/Shanghai]",
}
NORMAL = {"single_usage_rule_normal_coupon_threshold": 10000, "single_usage_rule_normal_coupon_discount_amount": 100}
DISCOUNT = {"single_usage_rule_discount_coupon_threshold": 9999, "single_usage_rule_discount_coupon_percent_off": 30}
EXCHANGE = {"single_usage_rule_exchange_coupon_threshold": 0, "single_usage_rule_exchange_coupon_exchange_price": 100}
ALL_THREE = NORMAL | DISCOUNT | EXCHANGE


def discount(rule: dict[str, object], coupon: dict[str, object] | None = None) -> tuple[int | None, str]:
    coupons = None if coupon is None else product_coupons(product_coupon(**coupon))
    row = only(budget_use(stocks(stock(**rule)), coupons))
    return row["discount_fen"], row["discount_basis"]


def test_one_row_a_stock_with_these_columns_in_these_dtypes() -> None:
    use = budget_use(stocks(stock("s2"), stock("s1")))
    assert {name: str(dtype) for name, dtype in use.dtypes.items()} == COLUMNS
    assert list(use.columns) == list(COLUMNS)
    assert list(use["stock_id"]) == ["s2", "s1"]


def test_an_empty_frame_gives_an_empty_frame_of_the_same_columns() -> None:
    use = budget_use(stocks())
    assert len(use) == 0
    assert {name: str(dtype) for name, dtype in use.dtypes.items()} == COLUMNS


def test_a_hand_computed_row() -> None:
    frame = stocks(stock(remark="会员日", max_count=1000, per_day=50, sent=250, today=7, **NORMAL))
    coupons = product_coupons(product_coupon(type="NORMAL", usage_mode="SINGLE"))
    assert only(budget_use(frame, coupons)) == {
        "product_coupon_id": "p1",
        "stock_id": "s1",
        "name": "满200减50",
        "remark": "会员日",
        "state": "SENDING",
        "max_count": 1000,
        "sent_count": 250,
        "remaining_count": 750,
        "sent_share": 0.25,
        "max_count_per_day": 50,
        "sent_today": 7,
        "discount_fen": 100,
        "discount_basis": "fixed",
        "sent_value_fen": 25_000,
        "budget_value_fen": 100_000,
        "as_of": NOON,
    }


@pytest.mark.parametrize(("max_count", "sent"), [(0, 5), (None, 5), (10, None)])
def test_the_share_is_null_when_max_count_is_0_or_a_number_is_missing(max_count: int | None, sent: int | None) -> None:
    assert only(budget_use(stocks(stock(max_count=max_count, sent=sent))))["sent_share"] is None


def test_a_stock_sent_beyond_a_lowered_limit_has_nothing_left_and_a_share_above_one() -> None:
    row = only(budget_use(stocks(stock(max_count=10, sent=12))))
    assert (row["remaining_count"], row["sent_share"]) == (0, 1.2)


def test_what_is_left_is_unknown_when_either_number_is() -> None:
    assert [
        row["remaining_count"] for row in rows(budget_use(stocks(stock("1", sent=1), stock("2", max_count=1))))
    ] == [
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("coupon_type", "expected"),
    [
        ("NORMAL", (100, "fixed")),
        ("DISCOUNT", (2999, "at_threshold")),  # 9999 × 30 // 100
        ("EXCHANGE", (400, "price_difference")),
        ("GIFT", (None, "unknown")),
        (None, (None, "unknown")),
    ],
)
def test_the_rule_is_that_of_the_product_coupons_own_type(
    coupon_type: str | None, expected: tuple[object, str]
) -> None:
    coupon = {"type": coupon_type, "usage_mode": "SINGLE", "display_info_original_price": 500}
    assert discount(ALL_THREE, coupon) == expected


def test_a_type_unknown_to_us_is_never_guessed_even_from_a_single_rule() -> None:
    assert discount(NORMAL, {"type": "GIFT", "usage_mode": "SINGLE"}) == (None, "unknown")


def test_the_least_a_percentage_costs_is_unknown_without_a_threshold() -> None:
    free = DISCOUNT | {"single_usage_rule_discount_coupon_threshold": 0}
    assert discount(free, {"type": "DISCOUNT", "usage_mode": "SINGLE"}) == (None, "unknown")


def test_an_exchange_is_unknown_when_the_price_is_not_known() -> None:
    assert discount(EXCHANGE, {"type": "EXCHANGE", "usage_mode": "SINGLE"}) == (None, "unknown")


def test_the_stocks_rule_comes_before_the_product_coupons() -> None:
    info = {
        "type": "NORMAL",
        "usage_mode": "SINGLE",
        "single_usage_info_normal_coupon_threshold": 20000,
        "single_usage_info_normal_coupon_discount_amount": 5000,
    }
    assert discount({}, info) == (5000, "fixed")
    assert discount(NORMAL, info) == (100, "fixed")


@pytest.mark.parametrize("mode", ["SEQUENTIAL", "PROGRESSIVE_BUNDLE", "SOMETHING_NEW"])
def test_single_use_rules_count_only_when_the_mode_is_single(mode: str) -> None:
    info = {"single_usage_info_normal_coupon_discount_amount": 5000}
    assert discount(NORMAL, {"type": "NORMAL", "usage_mode": mode, **info}) == (None, "unknown")


def test_without_product_coupons_a_rule_that_stands_alone_is_used() -> None:
    assert discount(NORMAL) == (100, "fixed")
    assert discount({"sequential_usage_rule_normal_coupon_list": [{"threshold": 1, "discount_amount": 7}]}) == (
        7,
        "fixed",
    )
    assert only(budget_use(stocks(stock(**NORMAL))))["name"] is None


def test_type_unknown_and_more_than_one_rule_present_is_unknown() -> None:
    assert discount(NORMAL | DISCOUNT) == (None, "unknown")
    both = NORMAL | {"sequential_usage_rule_normal_coupon_list": [{"threshold": 1, "discount_amount": 7}]}
    assert discount(both) == (None, "unknown")
    assert discount({}) == (None, "unknown")


def test_a_sequential_coupon_is_the_sum_over_its_rule_list() -> None:
    steps = [{"threshold": 1000, "discount_amount": amount} for amount in (100, 200, 300)]
    coupon = {"type": "NORMAL", "usage_mode": "SEQUENTIAL"}
    assert discount({"sequential_usage_rule_normal_coupon_list": steps, **NORMAL}, coupon) == (600, "fixed")


def test_a_sequential_coupon_is_unknown_if_any_of_its_uses_is() -> None:
    steps = [{"threshold": 1000, "percent_off": 10}, {"threshold": 0, "percent_off": 10}]
    coupon = {"type": "DISCOUNT", "usage_mode": "SEQUENTIAL"}
    column = "sequential_usage_rule_discount_coupon_list"
    assert discount({column: steps[:1]}, coupon) == (100, "at_threshold")
    assert discount({column: steps}, coupon) == (None, "unknown")
    assert discount({column: []}, coupon) == (None, "unknown")


def test_each_use_of_a_sequential_exchange_is_its_own_price_difference() -> None:
    uses = [{"threshold": 0, "exchange_price": price} for price in (100, 300)]
    coupon = {"type": "EXCHANGE", "usage_mode": "SEQUENTIAL", "display_info_original_price": 500}
    assert discount({"sequential_usage_rule_exchange_coupon_list": uses}, coupon) == (600, "price_difference")


def test_a_step_of_a_progressive_bundle_has_its_own_rule() -> None:
    coupon = {"type": "NORMAL", "usage_mode": "PROGRESSIVE_BUNDLE"}
    own = {"progressive_bundle_usage_rule_normal_coupon_discount_amount": 30}
    listed = {"progressive_bundle_usage_rule_normal_coupon_list": [{"threshold": 1, "discount_amount": 40}]}
    assert discount(own | listed, coupon) == (30, "fixed")
    assert discount(listed, coupon) == (40, "fixed")


def test_the_whole_bundles_rule_list_does_not_say_which_step_this_is() -> None:
    uses = [{"threshold": 1, "discount_amount": amount} for amount in (1, 2)]
    coupon = {"type": "NORMAL", "usage_mode": "PROGRESSIVE_BUNDLE"}
    assert discount({"progressive_bundle_usage_rule_normal_coupon_list": uses}, coupon) == (None, "unknown")


def test_the_pages_own_example_carries_rules_of_every_type_and_is_read_by_type() -> None:
    recorded = Path(__file__).parents[1] / "recorded" / "deactivate_stock.response.json"
    payload = json.loads(recorded.read_text("utf-8"))
    frame = flatten("stocks", payload)
    assert only(budget_use(frame))["discount_basis"] == "unknown"
    for mode in ("SINGLE", "SEQUENTIAL"):
        coupon = product_coupon("200000001", brand_id=None, type="NORMAL", usage_mode=mode)
        row = only(budget_use(frame, product_coupons(coupon)))
        assert (row["discount_fen"], row["sent_value_fen"]) == (100, 10_000)


def test_two_brands_ids_never_mix() -> None:
    frame = stocks(stock("s1", brand_id="b1"), stock("s1", brand_id="b2"), stock("s1", brand_id="b3"))
    coupons = product_coupons(*(product_coupon(brand_id=b, display_info_name=f"of {b}") for b in ("b1", "b2", None)))
    assert [row["name"] for row in rows(budget_use(frame, coupons))] == ["of b1", "of b2", None]


def test_a_frame_without_brands_matches_on_the_id_alone() -> None:
    frame, coupons = stocks(stock()), product_coupons(product_coupon())
    assert only(budget_use(frame.drop(columns="brand_id"), coupons))["name"] == "满200减50"
    assert only(budget_use(frame, coupons.drop(columns="brand_id")))["name"] == "满200减50"


def test_a_stock_history_is_refused_with_what_to_pass() -> None:
    with pytest.raises(ValidationError, match=r"store.load\('stocks'\)"):
        budget_use(stocks(stock(sent=1), stock(sent=2)))


def test_a_product_coupon_history_is_refused_rather_than_fanned_out() -> None:
    with pytest.raises(ValidationError, match=r"store.load\('product_coupons'\)"):
        budget_use(stocks(stock()), product_coupons(product_coupon(), product_coupon()))


def test_missing_columns_are_named() -> None:
    with pytest.raises(ValidationError, match=r"lacks remark, state: pass store.load\('stocks'\)"):
        budget_use(stocks(stock()).drop(columns=["remark", "state"]))


def test_a_naive_fetch_time_is_refused() -> None:
    frame = stocks(stock())
    with pytest.raises(ValidationError, match="not an aware time"):
        budget_use(frame.assign(fetched_at=frame["fetched_at"].dt.tz_localize(None)))


def test_counts_that_pandas_made_floats_and_a_filtered_index_change_nothing() -> None:
    frame = stocks(stock("s0"), stock("s1", max_count=10, sent=3, **NORMAL), stock("s2"))
    floats = frame.astype({"sent_count_info_total_count": "float64", "stock_id": object}).iloc[1:]
    pd.testing.assert_frame_equal(budget_use(floats), budget_use(frame).iloc[1:].reset_index(drop=True))


def test_what_no_column_can_hold_is_null() -> None:
    most = 2**63 - 1
    row = only(budget_use(stocks(stock(max_count=most, sent=2, single_usage_rule_normal_coupon_discount_amount=most))))
    assert (row["discount_fen"], row["discount_basis"]) == (most, "fixed")
    assert (row["sent_value_fen"], row["budget_value_fen"]) == (None, None)
    uses = [{"threshold": 1, "discount_amount": most}] * 2
    assert discount({"sequential_usage_rule_normal_coupon_list": uses}) == (None, "unknown")
    dear = {"single_usage_rule_exchange_coupon_exchange_price": -most}
    coupon = {"type": "EXCHANGE", "usage_mode": "SINGLE", "display_info_original_price": most}
    assert discount(dear, coupon) == (None, "unknown")


@pytest.mark.parametrize("name", ["product_coupon_id", "stock_id", "brand_id"])
def test_ids_that_went_through_a_float_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} of the stocks frame is Float64.*as text"):
        budget_use(stocks(stock()).assign(**{name: [1000000013001.0]}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stock_send_rule_max_count", "many"),
        ("stock_send_rule_max_count", 0.5),
        ("stock_send_rule_max_count", 2.0**70),
        ("stock_send_rule_max_count", NOON),
        ("stock_send_rule_max_count", True),
        ("sequential_usage_rule_normal_coupon_list", "[]"),
        ("fetched_at", pd.Timestamp("9999-12-31T23:00:00Z").as_unit("us")),
    ],
)
def test_a_column_that_cannot_be_what_the_contract_says_is_named(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=f"^{name} of the stocks frame"):
        budget_use(stocks(stock()).assign(**{name: [value]}))


def test_columns_of_nothing_may_have_any_dtype() -> None:
    frame = stocks(stock())
    floats = {name: [float("nan")] for name in ("remark", "brand_id", "stock_send_rule_max_count")}
    assert only(budget_use(frame.assign(**floats)))["remark"] is None


def test_rows_without_their_ids_are_nobodys_double_and_nobodys_product_coupon() -> None:
    nameless = [stock(None, product_coupon_id=None), stock(None, product_coupon_id=None)]
    use = rows(budget_use(stocks(*nameless), product_coupons(product_coupon(None), product_coupon(None))))
    assert [row["name"] for row in use] == [None, None]


@settings(deadline=None)
@given(st.integers(0, 100_000_000), st.integers(0, 100_000_000), st.integers(1, 10**9))
def test_values_are_exact_integers_at_every_size(max_count: int, sent: int, fen: int) -> None:
    rule = {"single_usage_rule_normal_coupon_discount_amount": fen}
    row = only(budget_use(stocks(stock(max_count=max_count, sent=sent, **rule))))
    assert row["sent_value_fen"] == fen * sent
    assert row["budget_value_fen"] == fen * max_count
    assert row["remaining_count"] == max(max_count - sent, 0)
    assert row["sent_share"] == (sent / max_count if max_count else None)
