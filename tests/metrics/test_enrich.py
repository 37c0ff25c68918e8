"""enrich, sentence by sentence of design/metrics.md."""

from __future__ import annotations

from typing import Any

import duckdb
import pandas as pd
import pytest

from tests.metrics.frames import (
    as_engine,
    coupon,
    product_coupon,
    product_coupons,
    rows,
    stock,
    stocks,
    table_of,
    user_coupons,
)
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import budget_use, enrich

NORMAL = {"single_usage_rule_normal_coupon_threshold": 10000, "single_usage_rule_normal_coupon_discount_amount": 100}
STOCKS = stocks(stock("s1", remark="一", **NORMAL), stock("s2", state="PAUSED"), stock("s3", product_coupon_id="p2"))
PRODUCTS = product_coupons(
    product_coupon("p1", type="NORMAL", usage_mode="SINGLE", state="EFFECTIVE"),
    product_coupon("p2", display_info_name="折"),
)


def held(
    code: str, stock_id: str | None = "s1", product_coupon_id: str | None = "p1", **columns: Any
) -> dict[str, Any]:
    return coupon(code, "USED", stock_id=stock_id, product_coupon_id=product_coupon_id, **columns)


def named(*coupons: dict[str, Any]) -> list[tuple[Any, ...]]:
    result = rows(enrich(user_coupons(*coupons), STOCKS, PRODUCTS))
    return [
        (row["coupon_code"], row["name"], row["remark"], row["discount_fen"], row["discount_basis"]) for row in result
    ]


def test_every_coupon_gets_its_stock_and_product_coupon_in_the_order_they_came() -> None:
    assert named(held("C", "s2"), held("A"), held("B", "s3", "p2"), held("A")) == [
        ("C", "满200减50", None, None, "unknown"),
        ("A", "满200减50", "一", 100, "fixed"),
        ("B", "折", None, None, "unknown"),
        ("A", "满200减50", "一", 100, "fixed"),
    ]


def test_names_that_meet_say_whose_they_are_and_the_others_stay() -> None:
    coupons = user_coupons(held("A"))
    result = enrich(coupons, STOCKS, PRODUCTS)
    ids = {"brand_id", "stock_id", "product_coupon_id"}
    assert list(result.columns[: len(coupons.columns)]) == list(coupons.columns)
    assert list(result.columns[-3:]) == ["name", "discount_fen", "discount_basis"]
    everywhere = (set(STOCKS.columns) & set(PRODUCTS.columns)) | (set(coupons.columns) & set(STOCKS.columns))
    assert {"state", "deactivate_time", "fetched_at", "extra"} <= everywhere
    assert {f"stock_{name}" for name in everywhere - ids} <= set(result.columns)
    assert "state" not in result.columns
    row = result.iloc[0]
    assert (row["coupon_state"], row["stock_state"], row["product_coupon_state"]) == ("USED", "SENDING", "EFFECTIVE")
    assert len(result.columns) == len(coupons.columns) + len(STOCKS.columns) - 3 + len(PRODUCTS.columns) - 2 + 3


def test_a_coupon_whose_stock_is_not_known_has_nulls_and_stays() -> None:
    assert named(held("A", "s9"), held("B", None, None), held("C", "s9", "p9")) == [
        ("A", "满200减50", None, None, "unknown"),
        ("B", None, None, None, "unknown"),
        ("C", None, None, None, "unknown"),
    ]


def test_no_row_is_added_and_none_lost_even_without_any_stock() -> None:
    coupons = user_coupons(*(held(str(number), f"s{number % 5}") for number in range(40)))
    assert len(enrich(coupons, STOCKS, PRODUCTS)) == len(enrich(coupons, STOCKS.head(0), PRODUCTS.head(0))) == 40
    assert len(enrich(coupons.head(0), STOCKS, PRODUCTS)) == 0


@pytest.mark.parametrize("table", ["stocks", "product_coupons"])
def test_a_history_is_refused_rather_than_fanned_out(table: str) -> None:
    doubled = {"stocks": STOCKS, "product_coupons": PRODUCTS}
    doubled[table] = pd.concat([doubled[table]] * 2)
    with pytest.raises(ValidationError, match=rf"store.load\('{table}'\)"):
        enrich(user_coupons(held("A")), doubled["stocks"], doubled["product_coupons"])


def test_a_stock_under_two_product_coupons_is_refused() -> None:
    with pytest.raises(ValidationError, match="several rows of stock_id='s1'"):
        enrich(user_coupons(held("A")), stocks(stock("s1"), stock("s1", product_coupon_id="p2")), PRODUCTS)


def test_two_brands_ids_never_mix() -> None:
    coupons = user_coupons(*(held("A", brand_id=brand) for brand in ("b1", "b2", None, "b3")))
    frame = stocks(*(stock("s1", brand_id=brand, remark=f"of {brand}") for brand in ("b1", "b2", None)))
    assert [row["remark"] for row in rows(enrich(coupons, frame, PRODUCTS))] == ["of b1", "of b2", "of None", None]
    one = enrich(coupons.drop(columns="brand_id"), frame.head(1), PRODUCTS)
    assert [row["remark"] for row in rows(one)] == ["of b1"] * 4


def test_the_discount_is_that_of_budget_use() -> None:
    use = {row["stock_id"]: row["discount_fen"] for row in rows(budget_use(STOCKS, PRODUCTS))}
    coupons = user_coupons(held("A"), held("B", "s2"), held("C", "s3", "p2"))
    assert {row["stock_id"]: row["discount_fen"] for row in rows(enrich(coupons, STOCKS, PRODUCTS))} == use


def test_a_filtered_pandas_frame_keeps_its_index_and_its_own_columns_their_dtypes() -> None:
    coupons = (
        user_coupons(held("A"), held("B", "s3", "p2"), held("C", "s2"))
        .iloc[1:]
        .assign(channel=pd.Categorical(["x", "y"]))
    )
    result = enrich(coupons, STOCKS, PRODUCTS)
    assert list(result.index) == [1, 2]
    assert list(result["name"]) == ["折", "满200减50"]
    pd.testing.assert_frame_equal(result[list(coupons.columns)], coupons)


def test_twice_is_refused_because_the_names_are_taken() -> None:
    once = enrich(user_coupons(held("A")), STOCKS, PRODUCTS)
    with pytest.raises(ValidationError, match="already has"):
        enrich(once, STOCKS, PRODUCTS)


def test_duckdb_takes_a_name_in_other_letters_for_the_same() -> None:
    connection = duckdb.connect()
    coupons = table_of("user_coupons", user_coupons(held("A"))).append_column("Name", [["x"]])
    with pytest.raises(ValidationError, match="already has name"):
        enrich(connection.from_arrow(coupons), STOCKS, PRODUCTS)
    assert rows(enrich(coupons, STOCKS, PRODUCTS))[0]["Name"] == "x"
    state = table_of("user_coupons", user_coupons(held("A"))).append_column("State", [["x"]])
    assert {"State", "stock_state"} <= set(enrich(connection.from_arrow(state), STOCKS, PRODUCTS).columns)
    connection.close()


def test_missing_ids_and_ids_that_went_through_a_float_are_refused() -> None:
    coupons = user_coupons(held("A"))
    with pytest.raises(ValidationError, match="lacks product_coupon_id"):
        enrich(coupons.drop(columns="product_coupon_id"), STOCKS, PRODUCTS)
    with pytest.raises(ValidationError, match="went through a float"):
        enrich(coupons.assign(stock_id=[1.0]), STOCKS, PRODUCTS)


def test_the_three_frames_may_be_of_three_engines() -> None:
    coupons = user_coupons(held("A"), held("B", "s3", "p2"))
    mixed = enrich(
        as_engine("polars", "user_coupons", coupons),
        as_engine("duckdb", "stocks", STOCKS),
        as_engine("pyarrow", "product_coupons", PRODUCTS),
    )
    assert [row["name"] for row in rows(mixed)] == ["满200减50", "折"]
