"""state_changes, sentence by sentence of design/metrics.md."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.frames import NOON, coupon, only, rows, user_coupons
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import state_changes

STATES = ["CONFIRMING", "PENDING", "EFFECTIVE", "USED", "EXPIRED", "DELETED", "DEACTIVATED", "NEW", None]


def changes(*readings: dict[str, Any]) -> list[tuple[str, str, str]]:
    result = rows(state_changes(user_coupons(*readings)))
    return [(row["coupon_code"], row["from_state"], row["to_state"]) for row in result]


def read(code: str, *states: str | None) -> list[dict[str, Any]]:
    return [coupon(code, state, NOON + timedelta(days=day)) for day, state in enumerate(states)]


def test_every_change_between_two_readings_and_between_which() -> None:
    frame = user_coupons(*read("A", "CONFIRMING", "EFFECTIVE", "EFFECTIVE", "USED"))
    first, second = rows(state_changes(frame))
    assert (first["from_state"], first["to_state"]) == ("CONFIRMING", "EFFECTIVE")
    assert (second["changed_after"], second["as_of"]) == (NOON + timedelta(days=2), NOON + timedelta(days=3))
    assert list(first) == [
        "product_coupon_id",
        "stock_id",
        "coupon_code",
        "openid",
        "from_state",
        "to_state",
        "changed_after",
        "as_of",
        "is_silent",
    ]


def test_a_deletion_is_silent_and_nothing_else_is() -> None:
    frame = user_coupons(*read("A", "EFFECTIVE", "USED", "EFFECTIVE", "DELETED"))
    assert [row["is_silent"] for row in rows(state_changes(frame))] == [False, False, True]


def test_the_first_reading_is_no_change_and_neither_is_a_single_one() -> None:
    assert changes(*read("A", "DELETED"), *read("B", "USED", "USED")) == []
    assert changes() == []


def test_readings_that_lack_an_id_a_state_or_a_time_say_nothing() -> None:
    assert changes(*read("A", "PENDING", None, "PENDING", None, "USED")) == [("A", "PENDING", "USED")]
    for lacking in ("stock_id", "coupon_code", "fetched_at"):
        assert changes(*(reading | {lacking: None} for reading in read("A", "PENDING", "USED"))) == []


def test_of_two_readings_in_one_second_the_one_further_in_the_lifecycle_came_later() -> None:
    pair = [coupon("A", "USED"), coupon("A", "CONFIRMING")]
    assert changes(*pair) == changes(*pair[::-1]) == [("A", "CONFIRMING", "USED")]


@pytest.mark.parametrize("key", ["brand_id", "stock_id", "coupon_code"])
def test_two_coupons_do_not_mix(key: str) -> None:
    other = [reading | {key: "other"} for reading in read("A", "PENDING", "USED")]
    assert len(changes(*read("A", "EFFECTIVE", "EFFECTIVE"), *other)) == 1
    assert changes(coupon("A", "PENDING"), coupon("A", "USED", NOON + timedelta(days=1)) | {key: "other"}) == []


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValidationError, match="lacks openid"):
        state_changes(user_coupons().drop(columns="openid"))


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(STATES), st.integers(0, 9)), max_size=25), st.randoms()
)
def test_played_one_after_the_other_they_lead_from_the_first_reading_to_the_last(
    drawn: list[Any], chance: random.Random
) -> None:
    known = {(code, hour): state for code, state, hour in drawn if state is not None}
    readings = [coupon(code, state, NOON + timedelta(hours=hour)) for (code, hour), state in known.items()]
    chance.shuffle(readings)
    result = rows(state_changes(user_coupons(*readings)))
    for code in "ABC":
        states = [state for (_, _), state in sorted((key, state) for key, state in known.items() if key[0] == code)]
        mine = [row for row in result if row["coupon_code"] == code]
        steps = [pair for pair in pairwise(states) if pair[0] != pair[1]]
        assert [(row["from_state"], row["to_state"]) for row in mine] == steps


def test_a_history_of_one_change_a_coupon_keeps_who_holds_it() -> None:
    first, second = read("A", "PENDING", "EFFECTIVE")
    assert only(state_changes(user_coupons(first, second | {"openid": "u1"})))["openid"] == "u1"
