"""The embedded brand's customers behave from known parameters, and the metrics find them again.

The parameters stand in ``sandbox/population.py`` and ``catalogue.py``; nothing here is fitted. Intervals are three standard
errors wide, so that a seed which is right may stay.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.metrics.frames import rows
from wxcoupon_analytics.sandbox import population

# Stocks of coupons for one use, valid from receipt for a week or longer, with the appeal that the catalogue gives them.
APPEAL = {"1000000013001": 0.34, "1000000013003": 0.30, "1000000013004": 0.48}
CONFIRMED = 1 - population._MAKES_NO_CALL


@pytest.fixture(scope="module")
def coupons(box: wx.Sandbox) -> pd.DataFrame:
    return box.truth("user_coupons")


def used_within(days: float, appeal: float) -> float:
    """The Weibull delay of those who mean to use a coupon, among all who were sent one."""
    return CONFIRMED * appeal * (1 - math.exp(-((days / population._SCALE_DAYS) ** population._SHAPE)))


def standard_error(row: dict[str, Any]) -> float:
    """Back from the interval on the scale of log(−log)."""
    width = math.log(math.log(row["used_low"]) / math.log(row["used_high"])) / 2
    return width / 1.959963984540054 * row["used_share"] * abs(math.log(row["used_share"]))


@pytest.mark.parametrize("stock_id", APPEAL)
def test_the_curve_finds_the_hazard_of_use(coupons: pd.DataFrame, stock_id: str) -> None:
    """Of 100 uses, 4 are taken back within two days, and of these one in three is made again: at most 4 % less."""
    curve = {row["day"]: row for row in rows(wx.redemption_curve(coupons[coupons["stock_id"] == stock_id]))}
    for day in (1, 2, 4, 6):
        found, truth = curve[day], used_within(day, APPEAL[stock_id])
        margin = 3 * standard_error(found)
        assert truth * 0.96 - margin < found["used_share"] < truth + margin, (day, found["used_share"], truth)


def test_the_share_that_is_never_confirmed_is_found(coupons: pd.DataFrame) -> None:
    # In a bundle one silent back end is three coupons, so it is counted by send.
    sends = coupons.drop_duplicates(["stock_id", "send_request_no"])
    alone = sends[sends["user_product_coupon_bundle_info_user_coupon_bundle_id"].isna()]
    [row] = rows(wx.redemption_rate(alone))
    silent = 1 - row["confirmed_count"] / len(alone)
    error = math.sqrt(CONFIRMED * (1 - CONFIRMED) / len(alone))
    assert abs(silent - (1 - CONFIRMED)) < 3 * error


def test_the_shares_deleted_and_deactivated_are_found_when_all_is_over(coupons: pd.DataFrame, box: wx.Sandbox) -> None:
    """0.8 % are withdrawn and 2.7 % deleted, of the confirmed, at an instant spread evenly over their validity."""
    over = coupons[(coupons["valid_end_time"] < box.now()) & coupons["confirm_time"].notna()]
    last = rows(wx.redemption_curve(over))[-1]
    assert last["open_share"] == pytest.approx(0, abs=1e-9)
    for share, truth in ((last["deactivated_share"], 0.008), (last["deleted_share"], 0.027)):
        # A coupon that is used, returned and so on is counted where it ended; nobody uses one that is to be deleted.
        assert abs(share - truth) < 3 * math.sqrt(truth * (1 - truth) / len(over))


def test_the_week_shows_in_the_daily_sends(box: wx.Sandbox) -> None:
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
    known = [factor / (sum(population._WEEK) / 7) for factor in population._WEEK]
    assert days[0]["day"] + timedelta(days=len(days) - 1) == days[-1]["day"]
    # Four of each weekday, of some 70 sends with a spread of 12 % beside chance's own.
    assert all(abs(got - true) < 3 * math.sqrt((0.12**2 + 1 / 70) / 4) for got, true in zip(found, known, strict=True))
    assert min(found[5], found[6]) > max(found[0], found[1])
