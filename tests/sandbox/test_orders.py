"""The brand's till: orders with a true effect of coupons that is known, whatever else happens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from wxcoupon_analytics.sandbox import Sandbox
from wxcoupon_analytics.sandbox.orders import Habits, orders

USERS = [f"o{number}" for number in range(4_000)]
DAY = 86_400
HABITS = Habits(rate=0.2, lift=0.1, amount_fen=3_000)


def placed(received: dict[str, int], habits: Habits = HABITS) -> dict[str, int]:
    found = orders(USERS, received, habits, seed=7, since=10 * DAY, until=20 * DAY)
    return {order.openid: order.time for order in found if order.time >= 10 * DAY}


def test_rate_and_lift_are_what_they_are_called() -> None:
    without, with_coupon = placed({}), placed(dict.fromkeys(USERS, 12 * DAY))
    assert len(without) / len(USERS) == pytest.approx(0.2, abs=0.02)
    assert len(with_coupon) / len(USERS) == pytest.approx(0.3, abs=0.02)


def test_a_coupon_adds_orders_after_it_came_and_moves_no_other() -> None:
    without, with_coupon = placed({}), placed(dict.fromkeys(USERS[::2], 12 * DAY))
    assert {user: time for user, time in with_coupon.items() if user in without} == without
    added = {user: time for user, time in with_coupon.items() if user not in without}
    assert set(added) <= set(USERS[::2])
    assert all(12 * DAY <= time <= 20 * DAY for time in added.values())


def test_amounts_have_the_mean_asked_for_and_before_it_began_everybody_is_alike() -> None:
    found = orders(USERS, {}, HABITS, seed=7, since=10 * DAY, until=20 * DAY)
    assert sum(order.amount_fen for order in found) / len(found) == pytest.approx(3_000, rel=0.05)
    before = [order for order in found if order.time < 10 * DAY]
    assert len(before) / len(USERS) == pytest.approx(0.2, abs=0.02)
    assert min(order.time for order in before) >= -1
    assert orders(["o1", "o1"], {}, Habits(1, 0, 100), seed=7, since=0, until=DAY) == orders(
        ["o1"], {}, Habits(1, 0, 100), seed=7, since=0, until=DAY
    )


def test_a_box_gives_them_as_a_frame_the_same_every_time(box: Sandbox) -> None:
    asked: dict[str, Any] = {"stock_id": "1000000013001", "since": box.now() - timedelta(days=7)}
    frame = box.orders(USERS[:500], **asked)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "openid": "string",
        "order_time": "datetime64[us, Asia/Shanghai]",
        "amount_fen": "Int64",
    }
    assert frame["order_time"].is_monotonic_increasing
    pd.testing.assert_frame_equal(frame, box.orders(USERS[:500], **asked))
    nobody = box.orders([], **asked)
    assert len(nobody) == 0
    assert (nobody.dtypes == frame.dtypes).all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rate": 1.2}, "probabilities"),
        ({"rate": 0.9, "lift": 0.2}, "probabilities"),
        ({"rate": 0.1, "lift": -0.2}, "probabilities"),
        ({"amount_fen": 0}, "at least 1"),
        ({"since": datetime(2026, 11, 1)}, "timezone-aware"),  # noqa: DTZ001
    ],
)
def test_habits_that_are_none_are_refused(box: Sandbox, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        box.orders(["o1"], **{"stock_id": "1", "since": box.now() - timedelta(days=1), **wrong})


def test_orders_of_no_time_at_all_are_refused(box: Sandbox) -> None:
    with pytest.raises(ValueError, match="advance the clock first"):
        box.orders(["o1"], stock_id="1", since=box.now())
