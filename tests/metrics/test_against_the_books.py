"""The metrics against the embedded brand's books: what was read now and then must say what happened in between."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.metrics.frames import only, rows, stock, stocks


@pytest.fixture(scope="module")
def watched() -> dict[str, Any]:
    """Three weeks of a brand, its stocks read at odd hours and some days not at all, the coupons now and then."""
    chance = random.Random(2)
    stocks, coupons = [], []
    with wx.Sandbox(seed=11, history_days=0) as box:
        for step in range(24):
            box.advance(hours=chance.choice([3, 9, 17, 24, 26, 60]))
            stocks.append(box.truth("stocks"))
            if step % 6 == 5:
                coupons.append(box.truth("user_coupons"))
        return {
            "stock_history": pd.concat(stocks),
            "coupon_history": pd.concat(coupons),
            "stocks": stocks[-1],
            "product_coupons": box.truth("product_coupons"),
            "user_coupons": coupons[-1],
            "now": box.now(),
        }


def test_daily_sends_are_the_coupons_received_in_each_interval(watched: dict[str, Any]) -> None:
    received: dict[str, list[datetime]] = {}
    for stock_id, time in watched["user_coupons"][["stock_id", "receive_time"]].itertuples(index=False):
        received.setdefault(stock_id, []).append(time)
    result = rows(wx.daily_sends(watched["stock_history"]))
    assert {row["days_covered"] for row in result} >= {None, 1, 2, 3}
    assert not any(row["anomaly"] for row in result)
    for row in result:
        if row["day"] is None:
            continue
        end = row["day"] + timedelta(days=row["days_covered"])
        mine = [
            time
            for time in received.get(row["stock_id"], [])
            if row["day"] <= time.date() < end and time <= row["as_of"]
        ]
        assert row["sends"] == len(mine), row
    totals = Counter()
    for row in result:
        totals[row["stock_id"]] += row["sends"]
    assert +totals == Counter({stock_id: len(times) for stock_id, times in received.items()})


def test_quota_days_are_the_days_counted_by_hand(watched: dict[str, Any]) -> None:
    per_day = Counter(
        (stock_id, time.date())
        for stock_id, time in watched["user_coupons"][["stock_id", "receive_time"]].itertuples(index=False)
    )
    limits = watched["stocks"].set_index("stock_id")["stock_send_rule_max_count_per_day"]
    result = rows(wx.quota_days(watched["stock_history"]))
    assert len({row["stock_id"] for row in result}) == limits.notna().sum()
    for row in result:
        assert row["sends"] == per_day[row["stock_id"], row["day"]]
        assert row["used_share"] == row["sends"] / limits[row["stock_id"]] <= 1
        assert row["hit"] == (row["sends"] == limits[row["stock_id"]])
    assert 0 < sum(row["hit"] for row in result) < len(result)


def test_forecasts_made_four_days_before_come_true(watched: dict[str, Any]) -> None:
    """As if each stock's budget had been what it had sent by some noon: then that is the day on which it ran out.

    The range is of days like those of the window, eight in ten; these campaigns slow down, and their weekends differ.
    """
    judged = []
    for _, mine in watched["user_coupons"].groupby("stock_id"):
        times = mine["receive_time"].sort_values()
        first = times.iloc[0].normalize() + pd.Timedelta(hours=12)
        noons = [
            first + pd.Timedelta(days=day) for day in range(22) if first + pd.Timedelta(days=day) <= times.iloc[-1]
        ]
        for end in range(11, len(noons), 4):
            budget = int((times <= noons[end]).sum())
            history = stocks(
                *(
                    stock(
                        fetched_at=noon,
                        max_count=budget,
                        sent=int((times <= noon).sum()),
                        today=int(((times <= noon) & (times >= noon.normalize())).sum()),
                    )
                    for noon in noons[: end - 3]
                )
            )
            row = only(wx.exhaustion_forecast(history, now=noons[end - 4].to_pydatetime()))
            if row["expected_date"] is not None:
                judged.append((row["low_date"], row["expected_date"], row["high_date"] or date.max, noons[end].date()))
    assert len(judged) > 15
    assert sum(abs(day - expected).days <= 1 for _, expected, _, day in judged) > 0.7 * len(judged)
    assert sum(low <= day <= high for low, _, high, day in judged) > 0.5 * len(judged)


def test_everything_fetched_is_a_coverage_of_one_and_a_part_of_it_that_part(watched: dict[str, Any]) -> None:
    coupons = watched["user_coupons"]
    assert {row["coverage"] for row in rows(wx.coverage(coupons, watched["stocks"]))} <= {1.0, None}
    # Stocks read long before the coupons had sent fewer: those received since are not held against them.
    earlier = watched["stock_history"].drop_duplicates("stock_id")
    assert {row["coverage"] for row in rows(wx.coverage(coupons, earlier))} <= {1.0, None}
    part = coupons[coupons["openid"].isin(coupons["openid"].unique()[:300])]
    counted = Counter(part["stock_id"])
    for row in rows(wx.coverage(part, watched["stocks"])):
        assert row["known_count"] == counted[row["stock_id"]]
        assert row["coverage"] is None or 0 <= row["coverage"] < 1


def test_redemption_rates_are_those_counted_by_hand(watched: dict[str, Any]) -> None:
    coupons = watched["user_coupons"]
    confirmed = coupons["confirm_time"].notna()
    matured = coupons["valid_end_time"] < watched["now"]
    used = coupons["coupon_state"] == "USED"
    whole = {row["stock_id"]: row for row in rows(wx.redemption_rate(coupons, by="stock_id"))}
    for stock_id, row in whole.items():
        mine = coupons["stock_id"] == stock_id
        assert (row["used_count"], row["confirmed_count"]) == (int((used & mine).sum()), int((confirmed & mine).sum()))
        assert row["matured_used_count"] == int((used & mine & matured).sum())
        assert row["matured_confirmed_count"] == int((confirmed & mine & matured).sum())


def test_every_deletion_after_a_first_reading_is_a_silent_change_between_two_readings(watched: dict[str, Any]) -> None:
    history, last = watched["coupon_history"], watched["coupon_history"]["fetched_at"].max()
    first = history.sort_values("fetched_at").drop_duplicates(["stock_id", "coupon_code"])
    alive = first[first["coupon_state"] != "DELETED"]
    gone = history[(history["coupon_state"] == "DELETED") & (history["fetched_at"] == last)]
    expected = set(zip(alive["stock_id"], alive["coupon_code"], strict=True)) & set(
        zip(gone["stock_id"], gone["coupon_code"], strict=True)
    )
    changes = wx.state_changes(history)
    silent = changes[changes["is_silent"]]
    assert set(zip(silent["stock_id"], silent["coupon_code"], strict=True)) == expected
    assert len(silent) == len(expected) > 10
    assert (silent["changed_after"] < silent["as_of"]).all()


def test_coupons_stuck_in_confirming_are_those_of_the_books(watched: dict[str, Any]) -> None:
    coupons = watched["user_coupons"]
    stuck = coupons[coupons["coupon_state"] == "CONFIRMING"]
    result = wx.confirming_age(watched["coupon_history"], now=watched["now"])
    fetched = watched["coupon_history"]["fetched_at"].max()
    assert set(result["coupon_code"]) == set(stuck.loc[stuck["receive_time"] <= fetched, "coupon_code"])
    assert (result["age"] == watched["now"] - result["receive_time"]).all()
    assert result["burnt_share"].dropna().between(0, 1).all()


def test_enriched_coupons_are_worth_what_their_stock_is(watched: dict[str, Any]) -> None:
    coupons, stocks, products = (watched[name] for name in ("user_coupons", "stocks", "product_coupons"))
    enriched = wx.enrich(coupons, stocks, products)
    assert len(enriched) == len(coupons)
    assert enriched["name"].notna().all()
    use = wx.budget_use(stocks, products).set_index("stock_id")
    worth = enriched.groupby("stock_id")["discount_fen"].sum(min_count=1)
    for stock_id, total in worth.dropna().items():
        assert total == use.loc[stock_id, "sent_value_fen"]


def test_young_coupons_tell_the_curve_that_old_ones_will_have_had() -> None:
    """Most coupons of a fortnight are young. Watched a week on, the same coupons show what the curve had foreseen."""
    with wx.Sandbox(seed=7, history_days=14) as box:
        early = box.truth("user_coupons")
        box.advance(days=8)
        late = box.truth("user_coupons")
    foreseen = {(row["stock_id"], row["day"]): row for row in rows(wx.redemption_curve(early, by="stock_id"))}
    same = late[late["coupon_code"].isin(early["coupon_code"])]
    judged = held = 0
    for stock_id, mine in same.groupby("stock_id"):
        used = mine["coupon_state"] == "USED"
        used_at = mine["single_usage_detail_use_time"].fillna(mine["progressive_bundle_usage_detail_use_time"])
        used_after = (used_at - mine["receive_time"])[used]
        # Of a coupon of several uses no time is told; its curve is the midpoint of a guess.
        if used_after.isna().any():
            continue
        for day in (1, 3, 7):
            row = foreseen.get((stock_id, day))
            if row is None or row["at_risk"] < 50 or row["used_low"] is None:
                continue
            truth = (used_after <= timedelta(days=day)).sum() / len(mine)
            judged += 1
            held += row["used_low"] <= truth <= row["used_high"]
    assert judged >= 25
    assert held == judged
