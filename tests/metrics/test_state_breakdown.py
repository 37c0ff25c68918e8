"""state_breakdown, sentence by sentence of design/metrics.md."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.frames import ENGINES, NOON, as_engine, coupon, rows, user_coupons
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import state_breakdown

LIFECYCLE = ["CONFIRMING", "PENDING", "EFFECTIVE", "USED", "EXPIRED", "DELETED", "DEACTIVATED"]


def counts(*coupons: dict[str, Any], **options: Any) -> dict[str | None, int]:
    return {row["coupon_state"]: row["count"] for row in rows(state_breakdown(user_coupons(*coupons), **options))}


def test_long_form_with_these_columns_in_these_dtypes() -> None:
    frame = state_breakdown(user_coupons(coupon("A", "USED")), by=["stock_id", "fetched_day"])
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "stock_id": "string",
        "fetched_day": "date32[day][pyarrow]",
        "coupon_state": "string",
        "count": "Int64",
        "share": "Float64",
        "as_of": "datetime64[us, Asia/Shanghai]",
    }


def test_a_hand_computed_table() -> None:
    frame = user_coupons(
        coupon("A", "USED", stock_id="s1"),
        coupon("B", "USED", stock_id="s1"),
        coupon("C", "EFFECTIVE", stock_id="s1"),
        coupon("D", "PENDING", stock_id="s2", fetched_at=NOON + timedelta(hours=1)),
    )
    table = [
        (row["stock_id"], row["coupon_state"], row["count"], row["share"])
        for row in rows(state_breakdown(frame, by="stock_id"))
    ]
    assert table == [
        ("s1", "CONFIRMING", 0, 0.0),
        ("s1", "PENDING", 0, 0.0),
        ("s1", "EFFECTIVE", 1, 1 / 3),
        ("s1", "USED", 2, 2 / 3),
        ("s1", "EXPIRED", 0, 0.0),
        ("s1", "DELETED", 0, 0.0),
        ("s1", "DEACTIVATED", 0, 0.0),
        ("s2", "CONFIRMING", 0, 0.0),
        ("s2", "PENDING", 1, 1.0),
        ("s2", "EFFECTIVE", 0, 0.0),
        ("s2", "USED", 0, 0.0),
        ("s2", "EXPIRED", 0, 0.0),
        ("s2", "DELETED", 0, 0.0),
        ("s2", "DEACTIVATED", 0, 0.0),
    ]
    assert {row["stock_id"]: row["as_of"] for row in rows(state_breakdown(frame, by="stock_id"))} == {
        "s1": NOON,
        "s2": NOON + timedelta(hours=1),
    }


def test_the_seven_states_come_in_lifecycle_order_even_when_there_are_none() -> None:
    result = rows(state_breakdown(user_coupons()))
    assert [row["coupon_state"] for row in result] == LIFECYCLE
    assert {(row["count"], row["share"], row["as_of"]) for row in result} == {(0, None, None)}
    assert rows(state_breakdown(user_coupons(), by="stock_id")) == []


def test_states_invented_later_come_after_them_in_every_group() -> None:
    frame = user_coupons(coupon("A", "ZOMBIE"), coupon("B", "FROZEN"), coupon("C", "USED", stock_id="s2"))
    result = rows(state_breakdown(frame, by="stock_id"))
    assert [row["coupon_state"] for row in result] == [*LIFECYCLE, "FROZEN", "ZOMBIE"] * 2


def test_a_coupon_without_a_state_has_a_row_of_its_own_at_the_end() -> None:
    found = counts(coupon("A", None), coupon("B", "ZOMBIE"))
    assert list(found) == [*LIFECYCLE, "ZOMBIE", None]
    assert found[None] == 1


def test_a_coupon_counts_once_at_its_latest_fetch() -> None:
    history = [
        coupon("A", state, NOON + timedelta(days=day)) for day, state in enumerate(["CONFIRMING", "USED", "EFFECTIVE"])
    ]
    random.Random(0).shuffle(history)
    assert +Counter(counts(*history)) == {"EFFECTIVE": 1}  # used, and returned


@pytest.mark.parametrize("key", ["brand_id", "stock_id", "coupon_code"])
def test_a_coupon_is_its_brand_stock_and_code(key: str) -> None:
    assert counts(coupon("A", "USED"), {**coupon("A", "USED"), key: "other"})["USED"] == 2


@pytest.mark.parametrize("key", ["stock_id", "coupon_code"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_without_its_ids_is_nobodys_double(engine: str, key: str) -> None:
    listed = [{**coupon("A", "USED"), key: None}] * 3 + [coupon("B", "USED")] * 2
    result = rows(state_breakdown(as_engine(engine, "user_coupons", user_coupons(*listed)), by="openid"))
    assert sum(row["count"] for row in result) == 4


@pytest.mark.parametrize("key", ["stock_id", "coupon_code"])
def test_ids_that_went_through_a_float_are_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=f"{key} of the user_coupons frame is Float64.*as text"):
        state_breakdown(user_coupons(coupon("A", "USED")).assign(**{key: [1.0]}))


def test_a_coupon_is_in_the_group_of_its_latest_fetch() -> None:
    frame = user_coupons(
        coupon("A", "PENDING", openid="old"), coupon("A", "USED", NOON + timedelta(days=1), openid=None)
    )
    assert {(row["openid"], row["count"]) for row in rows(state_breakdown(frame, by="openid"))} == {
        (None, 0),
        (None, 1),
    }


def test_a_state_that_became_unknown_is_unknown_and_not_the_last_one_known() -> None:
    assert +Counter(counts(coupon("A", "USED"), coupon("A", None, NOON + timedelta(days=1)))) == {None: 1}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("EFFECTIVE", "DEACTIVATED"),
        ("CONFIRMING", "EFFECTIVE"),
        ("PENDING", "EFFECTIVE"),
        ("CONFIRMING", "PENDING"),
        (None, "CONFIRMING"),
    ],
)
def test_of_two_fetches_in_one_second_the_later_state_counts_in_any_order(one: str | None, other: str) -> None:
    assert counts(coupon("A", one), coupon("A", other)) == counts(coupon("A", other), coupon("A", one))
    assert counts(coupon("A", one), coupon("A", other))[other] == 1


def test_deduplicate_false_counts_rows() -> None:
    history = [coupon("A", "PENDING"), coupon("A", "USED", NOON + timedelta(days=1))]
    assert +Counter(counts(*history, deduplicate=False)) == {"PENDING": 1, "USED": 1}


def test_groups_are_sorted_with_the_null_group_last() -> None:
    frame = user_coupons(*(coupon(str(i), "USED", openid=openid) for i, openid in enumerate(["b", None, "a"])))
    assert list(dict.fromkeys(row["openid"] for row in rows(state_breakdown(frame, by="openid")))) == ["a", "b", None]


def test_a_frame_whose_brand_or_times_are_null_throughout_is_counted_all_the_same() -> None:
    listed = [{"stock_id": "s1", "coupon_code": code, "coupon_state": "USED"} for code in "AB"]
    assert counts(*listed)["USED"] == 2
    assert counts(*listed, by="brand_id")["USED"] == 2


def test_groups_may_be_what_a_coupon_is_known_by_or_a_category() -> None:
    frame = user_coupons(coupon("A", "USED"), coupon("B", "USED", stock_id="s2"))
    assert sum(row["count"] for row in rows(state_breakdown(frame, by="coupon_code"))) == 2
    labelled = frame.assign(channel=frame["stock_id"].astype("category"))
    assert {row["channel"] for row in rows(state_breakdown(labelled, by="channel"))} == {"s1", "s2"}


@pytest.mark.parametrize("by", ["coupon_state", ["stock_id", "stock_id"], "as_of"])
def test_a_group_that_would_clash_with_the_result_is_refused(by: Any) -> None:
    with pytest.raises(ValidationError, match="given twice or is a column of the result"):
        state_breakdown(user_coupons(coupon("A", "USED")), by=by)


def test_missing_columns_are_named() -> None:
    with pytest.raises(ValidationError, match=r"lacks channel, coupon_code: pass store.load\('user_coupons'\)"):
        state_breakdown(user_coupons().drop(columns="coupon_code"), by="channel")


fetches = st.lists(
    st.tuples(
        st.sampled_from("ABCDE"),
        st.sampled_from(["s1", "s2"]),
        st.sampled_from([*LIFECYCLE, "ZOMBIE", None]),
        st.integers(0, 3),
        st.sampled_from(["u1", "u2", None]),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(fetches)
def test_counts_add_up_to_the_distinct_coupons_and_shares_to_one(drawn: list[tuple[Any, ...]]) -> None:
    frame = user_coupons(
        *(
            coupon(code, state, NOON + timedelta(hours=hour), stock_id=stock_id, openid=openid)
            for code, stock_id, state, hour, openid in drawn
        )
    )
    result = rows(state_breakdown(frame, by="openid"))
    assert sum(row["count"] for row in result) == len({(code, stock_id) for code, stock_id, *_ in drawn})
    for openid in {row["openid"] for row in result}:
        assert sum(row["share"] for row in result if row["openid"] == openid) == pytest.approx(1)
    everything = rows(state_breakdown(frame))
    assert sum(row["count"] for row in everything) == sum(row["count"] for row in result)


@settings(max_examples=40, deadline=None)
@given(fetches, st.randoms())
def test_the_order_of_rows_does_not_matter(drawn: list[tuple[Any, ...]], chance: random.Random) -> None:
    listed = [
        coupon(code, state, NOON + timedelta(hours=hour), stock_id=stock_id, openid=openid)
        for code, stock_id, state, hour, openid in drawn
    ]
    before = rows(state_breakdown(user_coupons(*listed), by="openid"))
    chance.shuffle(listed)
    assert rows(state_breakdown(user_coupons(*listed), by="openid")) == before
