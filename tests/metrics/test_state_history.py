"""The history of states: each day is what state_breakdown says of all that was read up to its end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wxcoupon_analytics as wx
from tests.metrics.frames import ENGINES, NOON, as_engine, coupon, rows, user_coupons

STATES = ["CONFIRMING", "EFFECTIVE", "USED", "DELETED", "NEW", None]


def by_hand(history: Any) -> list[dict[str, Any]]:
    """Ask state_breakdown once a day, of the readings up to that day."""
    answer = []
    for day in sorted(set(history["fetched_day"])):
        so_far = rows(wx.state_breakdown(history[history["fetched_day"] <= day]))
        answer += [{"day": day, **row} for row in so_far if row["count"]]
    return answer


READINGS = st.lists(
    st.tuples(
        st.sampled_from("AB"),
        st.sampled_from(["s1", "s2"]),
        st.sampled_from(STATES),
        st.integers(0, 4),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(readings=READINGS)
def test_each_day_is_the_breakdown_of_all_that_was_read_by_then(readings: list[tuple[Any, ...]]) -> None:
    history = user_coupons(
        *(
            coupon(code, state, NOON + timedelta(days=day, minutes=n), stock_id=stock)
            for code, stock, state, day, n in readings
        )
    )
    result = rows(wx.state_history(history))
    assert [row for row in result if row["count"]] == by_hand(history)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_day_has_every_state_and_a_day_ends_in_beijing(engine: str) -> None:
    midnight = NOON.replace(hour=0)
    history = user_coupons(coupon("A", "EFFECTIVE", midnight - timedelta(seconds=1)), coupon("A", "USED", midnight))
    result = rows(wx.state_history(as_engine(engine, "user_coupons", history)))
    assert len(result) == 2 * 7
    assert [(row["day"].day, row["coupon_state"]) for row in result if row["count"]] == [(1, "EFFECTIVE"), (2, "USED")]


def test_a_coupon_without_its_ids_cannot_be_followed_and_no_coupons_are_no_days() -> None:
    assert rows(wx.state_history(user_coupons(coupon(None, "USED"), coupon("A", "USED", stock_id=None)))) == []
    assert rows(wx.state_history(user_coupons())) == []


def test_two_brands_keep_their_coupons_apart() -> None:
    history = user_coupons(coupon("A", "USED", brand_id="b1"), coupon("A", "EFFECTIVE", brand_id="b2"))
    assert {r["coupon_state"]: r["count"] for r in rows(wx.state_history(history)) if r["count"]} == {
        "EFFECTIVE": 1,
        "USED": 1,
    }


def test_a_frame_without_what_it_needs_is_refused() -> None:
    with pytest.raises(wx.ValidationError, match="lacks fetched_day"):
        wx.state_history(user_coupons(coupon("A", "USED")).drop(columns="fetched_day"))
