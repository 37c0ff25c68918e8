"""The funnel: stages that add up, and that agree with the metrics beside them."""

from __future__ import annotations

from typing import Any

import pytest

import wxcoupon_analytics as wx
from tests.metrics.frames import ENGINES, NOON, as_engine, coupon, rows, user_coupons

STANDINGS = ["used", "usable", "lost", "unconfirmed", "other"]


def counts(result: Any) -> dict[str, int]:
    return {row["stage"]: row["count"] for row in rows(result)}


@pytest.mark.parametrize("engine", ENGINES)
def test_each_state_stands_in_one_stage(engine: str) -> None:
    states = ["CONFIRMING", "PENDING", "EFFECTIVE", "USED", "EXPIRED", "DELETED", "DEACTIVATED", "NEW", None]
    frame = user_coupons(*(coupon(str(n), state) for n, state in enumerate(states)))
    assert counts(wx.coupon_funnel(as_engine(engine, "user_coupons", frame))) == {
        "received": 9,
        "confirmed": 3,
        "used": 1,
        "usable": 2,
        "lost": 3,
        "unconfirmed": 1,
        "other": 2,
    }


def test_a_coupon_that_was_confirmed_stays_so_after_its_end() -> None:
    frame = user_coupons(coupon("A", "EXPIRED", confirm_time=NOON), coupon("B", "EXPIRED"))
    assert counts(wx.coupon_funnel(frame))["confirmed"] == 1


def test_it_agrees_with_the_breakdown_and_the_rate_on_the_embedded_brand() -> None:
    users = wx.load_sample("user_coupons")
    for by in (None, "stock_id"):
        funnel = rows(wx.coupon_funnel(users, by=by))
        rates = rows(wx.redemption_rate(users, by=by))
        groups: dict[Any, dict[str, int]] = {}
        for row in funnel:
            groups.setdefault(row.get("stock_id"), {})[row["stage"]] = row["count"]
        assert len(groups) == len(rates)
        for rate, stages in zip(rates, groups.values(), strict=True):
            assert (stages["used"], stages["confirmed"]) == (rate["used_count"], rate["confirmed_count"])
            assert sum(stages[name] for name in STANDINGS) == stages["received"]
    assert sum(row["count"] for row in rows(wx.state_breakdown(users))) == counts(wx.coupon_funnel(users))["received"]


def test_no_coupons_are_a_funnel_of_nothing() -> None:
    assert {(row["count"], row["share"]) for row in rows(wx.coupon_funnel(user_coupons()))} == {(0, None)}
    assert rows(wx.coupon_funnel(user_coupons(), by="stock_id")) == []


def test_a_group_that_the_result_names_itself_is_refused() -> None:
    for name in ("stage", "count"):
        with pytest.raises(wx.ValidationError, match=f"{name} is given twice"):
            wx.coupon_funnel(user_coupons(), by=name)
