"""The embedded brand's customers behave from known parameters, and the metrics find them again.

The parameters are those of ``box.behaviour`` and ``box.appeals()``; what they mean for each coupon is
worked out here from the hazards, day by day, and not by the code that drew the customers. Nothing is fitted. The error
allowed is three standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.metrics.frames import rows
from wxcoupon_analytics.sandbox import Behaviour, Segment
from wxcoupon_analytics.sandbox.population import _HOURS

# Stocks of coupons for one use, valid from receipt for a week or longer.
STOCKS = ["1000000013001", "1000000013003", "1000000013004"]
SEGMENTS = list(Behaviour().segments)
DAYS = (1, 2, 4, 6)
A_DAY = pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def brand() -> Iterator[wx.Sandbox]:
    """Nothing is returned here, so that what was used stays used."""
    with wx.Sandbox(behaviour=Behaviour(returned=0)) as started:
        yield started


@pytest.fixture(scope="module")
def coupons(brand: wx.Sandbox) -> pd.DataFrame:
    found = brand.truth("user_coupons")
    known = found[found["stock_id"].isin(STOCKS)].merge(brand.customers(), on="openid", validate="many_to_one")
    return known.assign(weekday=known["receive_time"].dt.day_of_week, appeal=known["stock_id"].map(brand.appeals()))


def daytime(at: pd.Series) -> np.ndarray:
    """Which share of a day's uses is made before this time of day."""
    hours = np.concatenate([[0], _HOURS]) / _HOURS[-1]
    of_day = (at - at.dt.normalize()) / pd.Timedelta(hours=1)
    return np.interp(of_day, np.arange(25), hours)


def expected(coupons: pd.DataFrame, truth: Behaviour, days: int) -> pd.DataFrame:
    """The probability of each coupon's end by each cause within so many times 24 hours of receipt.

    The causes are independent and the first one wins: each day gives ``S before − S after`` of its own cause, times the
    chance that no other came before the middle of the day.
    """
    begin = coupons["confirm_time"].fillna(coupons["receive_time"])
    midnight, end = begin.dt.normalize(), coupons["valid_end_time"]
    appeal = coupons["appeal"].to_numpy(float)
    ratios = {
        what: np.array([getattr(truth.segments[segment], what) for segment in coupons["segment"]], dtype=float)
        for what in ("use", "delete")
    }
    # Of the last day only what comes before the hour of receipt is within so many times 24 hours.
    last = {"used": daytime(coupons["receive_time"])}
    hours = ((coupons["receive_time"] - coupons["receive_time"].dt.normalize()) / A_DAY).to_numpy(float)
    hazard = {cause: np.zeros(len(coupons)) for cause in ("used", "deleted", "deactivated")}  # cumulative, so far
    share = {cause: np.zeros(len(coupons)) for cause in hazard}
    for day in range(days + 1):
        weekday = (midnight + day * A_DAY).dt.day_of_week.to_numpy()
        ratio = {what: of_week[np.arange(len(coupons)), weekday] for what, of_week in ratios.items()}
        opens, closes = (
            ((at.clip(begin, end) - begin) / A_DAY).to_numpy(float)
            for at in (midnight + day * A_DAY, midnight + (day + 1) * A_DAY)
        )
        weibull = [(age / truth.use_scale_days) ** truth.use_shape for age in (opens, closes)]
        after = {
            "used": hazard["used"] + ratio["use"] * (weibull[1] - weibull[0]),
            "deleted": hazard["deleted"] + truth.deletions_a_day * ratio["delete"] * (closes - opens),
            "deactivated": hazard["deactivated"] + truth.deactivations_a_day * (closes - opens),
        }
        wants = {"used": appeal}  # who does not mean to use it has no hazard of use
        noon = {
            cause: 1 - wants.get(cause, 1) + wants.get(cause, 1) * np.exp(-(hazard[cause] + after[cause]) / 2)
            for cause in hazard
        }
        for cause in hazard:
            part = last.get(cause, hours) if day == days else 1.0
            others = np.prod([noon[other] for other in hazard if other != cause], axis=0)
            came = np.exp(-hazard[cause]) - np.exp(-after[cause])
            share[cause] = share[cause] + part * wants.get(cause, 1) * came * others
        hazard = after
    return (1 - truth.never_confirmed) * pd.DataFrame(share, index=coupons.index)


def standard_error(row: dict[str, Any]) -> float:
    """Back from the interval on the scale of log(−log)."""
    width = math.log(math.log(row["used_low"]) / math.log(row["used_high"])) / 2
    return width / 1.959963984540054 * row["used_share"] * abs(math.log(row["used_share"]))


@pytest.mark.parametrize("stock_id", STOCKS)
def test_the_curve_finds_the_hazard_of_use_of_every_segment(
    coupons: pd.DataFrame, brand: wx.Sandbox, stock_id: str
) -> None:
    mine = coupons[coupons["stock_id"] == stock_id]
    curve = {(row["segment"], row["day"]): row for row in rows(wx.redemption_curve(mine, by="segment"))}
    for day in DAYS:
        truth = expected(mine, brand.behaviour, day)["used"].groupby(mine["segment"]).mean()
        for segment in SEGMENTS:
            found = curve[segment, day]
            assert abs(found["used_share"] - truth[segment]) < 3 * standard_error(found), (segment, day)


def test_the_curve_finds_the_weekdays(coupons: pd.DataFrame, brand: wx.Sandbox) -> None:
    """Office workers use coupons on working days, the neighbourhood at weekends: it shows by the day of receipt."""
    watched = coupons[coupons["receive_time"] < brand.now() - timedelta(days=3)]
    groups = ["segment", "weekday"]
    curve = {(*(row[g] for g in groups), row["day"]): row for row in rows(wx.redemption_curve(watched, by=groups))}
    for day in (1, 2):
        truth = expected(watched, brand.behaviour, day)["used"].groupby([watched[g] for g in groups]).mean()
        errors = {}
        for group, share in truth.items():
            found = curve[*group, day]
            errors[group] = (found["used_share"] - share) / standard_error(found)
        assert max(abs(error) for error in errors.values()) < 3.5, errors  # the largest of 21
        assert sum(error**2 for error in errors.values()) < 21 + 3 * math.sqrt(2 * 21), errors


def test_a_wrong_truth_would_be_noticed(coupons: pd.DataFrame, brand: wx.Sandbox) -> None:
    """Without segments and weekdays the same parameters are refuted: the tests above could have failed."""
    even = {name: Segment(segment.share) for name, segment in brand.behaviour.segments.items()}
    watched = coupons[coupons["receive_time"] < brand.now() - timedelta(days=3)]
    wrong = expected(watched, replace(brand.behaviour, segments=even), 2)["used"]
    by_day = wrong.groupby([watched["segment"], watched["weekday"]]).mean()
    curve = [row for row in rows(wx.redemption_curve(watched, by=["segment", "weekday"])) if row["day"] == 2]
    errors = [(row["used_share"] - by_day[row["segment"], row["weekday"]]) / standard_error(row) for row in curve]
    assert sum(error**2 for error in errors) > 21 + 3 * math.sqrt(2 * 21)


def test_the_share_that_is_never_confirmed_is_found(brand: wx.Sandbox) -> None:
    # In a bundle one silent back end is three coupons, so it is counted by send.
    sends = brand.truth("user_coupons").drop_duplicates(["stock_id", "send_request_no"])
    alone = sends[sends["user_product_coupon_bundle_info_user_coupon_bundle_id"].isna()]
    [row] = rows(wx.redemption_rate(alone))
    silent, truth = 1 - row["confirmed_count"] / len(alone), brand.behaviour.never_confirmed
    assert abs(silent - truth) < 3 * math.sqrt(truth * (1 - truth) / len(alone))


def test_the_lag_of_confirmation_is_found(brand: wx.Sandbox) -> None:
    """1 + longest · u³ seconds, cut to whole ones: 1 + longest / 4 in the mean, less about half a second."""
    found = brand.truth("user_coupons")
    lag = (found["confirm_time"] - found["receive_time"]).dropna().dt.total_seconds()
    longest = brand.behaviour.confirm_seconds
    spread = longest * math.sqrt(1 / 7 - 1 / 16)
    assert (
        0.3 - 3 * spread / math.sqrt(len(lag)) < 1 + longest / 4 - lag.mean() < 0.7 + 3 * spread / math.sqrt(len(lag))
    )
    assert lag.max() <= 1 + longest
    stuck = rows(wx.confirming_age(found, now=brand.now()))
    assert all(row["age"] > timedelta(seconds=longest) for row in stuck if row["age"] is not None)


def test_the_shares_deleted_and_withdrawn_are_found_in_every_segment(coupons: pd.DataFrame, brand: wx.Sandbox) -> None:
    over = coupons[coupons["valid_end_time"] < brand.now()]
    last = {row["segment"]: row for row in rows(wx.redemption_curve(over, by="segment"))}
    longest = int((over["valid_end_time"] - over["receive_time"]).max() / A_DAY) + 1
    truth = expected(over, brand.behaviour, longest).groupby(over["segment"]).mean()
    sizes = over["segment"].value_counts()
    for segment in SEGMENTS:
        assert last[segment]["open_share"] == pytest.approx(0, abs=1e-9)
        for cause in ("deleted", "deactivated"):
            share = truth.loc[segment, cause]
            error = math.sqrt(share * (1 - share) / sizes[segment])
            assert abs(last[segment][f"{cause}_share"] - share) < 3 * error, (segment, cause)


def test_deletions_keep_to_their_weekdays() -> None:
    """A segment that tidies up at weekends only: nothing goes from Monday to Friday, and what goes then was to be expected."""
    tidy = Behaviour(deletions_a_day=0.1, segments={"tidy": Segment(1.0, use=(0,) * 7, delete=(0, 0, 0, 0, 0, 1, 1))})
    with wx.Sandbox(history_days=0, behaviour=tidy) as box:
        box.advance(days=4, hours=13, minutes=59)
        before = box.truth("user_coupons")
        assert len(before) > 1_000
        assert "DELETED" not in set(before["coupon_state"])
        box.advance(days=2, minutes=1)
        mine = box.truth("user_coupons").merge(before[["stock_id", "coupon_code"]], on=["stock_id", "coupon_code"])
        at_risk = mine[mine["confirm_time"].notna() & (mine["valid_end_time"] > box.now())]
        share, truth = (at_risk["coupon_state"] == "DELETED").mean(), 1 - math.exp(-0.2)
        assert abs(share - truth) < 3 * math.sqrt(truth * (1 - truth) / len(at_risk))


def test_the_week_shows_in_the_daily_sends() -> None:
    """Wishes follow the weekday by known factors, and a campaign a month old sends what is wished for, up to 90 a day."""
    with wx.Sandbox(seed=7, history_days=0) as fresh:
        readings = [fresh.truth("stocks")]
        for _ in range(28):
            fresh.advance(days=1)
            readings.append(fresh.truth("stocks"))
    history = pd.concat(readings)
    steady = history[history["stock_id"] == "1000000014001"]
    days = [row for row in rows(wx.daily_sends(steady)) if row["day"] is not None and row["complete"]]
    factors: dict[int, list[float]] = {}
    for row in days[:28]:
        factors.setdefault(row["day"].weekday(), []).append(row["sends"])
    mean = sum(row["sends"] for row in days) / len(days)
    found = [sum(factors[day]) / len(factors[day]) / mean for day in range(7)]
    arrivals = fresh.behaviour.arrivals
    known = [factor / (sum(arrivals) / 7) for factor in arrivals]
    assert days[0]["day"] + timedelta(days=len(days) - 1) == days[-1]["day"]
    # Four of each weekday, of some 70 sends with a spread of 12 % beside chance's own.
    assert all(abs(got - true) < 3 * math.sqrt((0.12**2 + 1 / 70) / 4) for got, true in zip(found, known, strict=True))
    assert min(found[5], found[6]) > max(found[0], found[1])
