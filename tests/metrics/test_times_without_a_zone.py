"""A time that names no zone is refused: DuckDB takes it for the session's, Arrow for UTC, and a day is cut elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import wxcoupon_analytics as wx
from tests.metrics.frames import ENGINES, NOON, coupon, rows, stock, stocks, table_of, user_coupons
from wxcoupon_analytics.errors import ValidationError

COUPONS = user_coupons(
    coupon(
        "1",
        "USED",
        receive_time=NOON - timedelta(days=3),
        confirm_time=NOON - timedelta(days=3),
        valid_begin_time=NOON - timedelta(days=3),
        valid_end_time=NOON - timedelta(hours=3),
        single_usage_detail_use_time=NOON - timedelta(days=1),
    )
)
PERIOD = "single_usage_rule_coupon_available_period_available"
HISTORY = stocks(
    stock(
        sent=5,
        today=1,
        **{f"{PERIOD}_{side}_time": NOON + timedelta(hours=h) for side, h in (("begin", -4), ("end", 4))},
    )
)
ASKS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "redemption_rate": (wx.redemption_rate, "valid_end_time"),
    "redemption_curve": (wx.redemption_curve, "receive_time"),
    "confirming_age": (lambda frame: wx.confirming_age(frame, now=NOON), "valid_begin_time"),
    "coverage": (lambda frame: wx.coverage(frame, stocks(stock(sent=4))), "receive_time"),
}


def naive(table: pa.Table, name: str) -> pa.Table:
    """What read_csv makes of Beijing's times that were written without their zone."""
    place = table.column_names.index(name)
    return table.set_column(place, name, pa.array([at and at.replace(tzinfo=None) for at in table[name].to_pylist()]))


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("engine", ENGINES)
def test_of_user_coupons(engine: str, ask: str) -> None:
    """`valid_end_time` three hours before the reading, taken for UTC, is five hours after it: nothing has matured."""
    ask_for, name = ASKS[ask]
    frame = naive(table_of("user_coupons", COUPONS), name)
    with pytest.raises(ValidationError, match=f"{name} of the user_coupons frame is Datetime.*not an aware time"):
        ask_for(ENGINES[engine][0](frame))


@pytest.mark.parametrize(
    "nothing", [[None, None], [float("nan")] * 2, [pd.NaT] * 2, pd.array([None] * 2, dtype="string")]
)
@pytest.mark.parametrize("ask", [wx.redemption_rate, wx.redemption_curve, wx.coupon_funnel])
def test_a_column_of_no_times_is_one_of_nulls_whatever_it_is_called(ask: Callable[[Any], Any], nothing: Any) -> None:
    """As read_csv makes one, of any dtype, when no coupon was confirmed, used or withdrawn yet."""
    frame = user_coupons(
        *(coupon(code, "EFFECTIVE", receive_time=NOON, valid_end_time=NOON + timedelta(days=9)) for code in "ab")
    )
    names = [name for name in frame.columns if name.endswith("_time") and frame[name].isna().all()]
    assert "deactivate_time" in names or "confirm_time" in names
    told = ask(frame.assign(**{name: pd.Series(nothing, frame.index) for name in names}))
    pd.testing.assert_frame_equal(told, ask(frame))


@pytest.mark.parametrize("value", ["2025-08-02T09:00:00+08:00", 1754096400, pd.Timestamp("2025-08-02").date()])
def test_of_user_coupons_what_is_no_time_at_all(value: Any) -> None:
    with pytest.raises(ValidationError, match="valid_end_time of the user_coupons frame is .*not an aware time"):
        wx.redemption_rate(COUPONS.assign(valid_end_time=value))


@pytest.mark.parametrize("ask", [wx.pace, lambda frame: wx.exhaustion_forecast(frame, now=NOON)])
@pytest.mark.parametrize("engine", ENGINES)
def test_of_stocks(engine: str, ask: Callable[[Any], Any]) -> None:
    frame = naive(table_of("stocks", HISTORY), f"{PERIOD}_end_time")
    with pytest.raises(ValidationError, match="end_time of the stocks frame is Datetime.*not an aware time"):
        ask(ENGINES[engine][0](frame))
    with pytest.raises(ValidationError, match="end_time of the stocks frame is Int64.*not an aware time"):
        ask(HISTORY.assign(**{f"{PERIOD}_end_time": 1754096400}))


def test_text_that_names_its_zone_and_a_column_of_nulls_are_taken_for_what_they_say() -> None:
    text = {f"{PERIOD}_begin_time": "2025-08-02T08:00:00+08:00", f"{PERIOD}_end_time": "2025-08-02T08:00:00+00:00"}
    assert rows(wx.pace(HISTORY.assign(**text))) == rows(wx.pace(HISTORY))
    nothing = HISTORY.assign(progressive_bundle_usage_rule_coupon_available_period_available_end_time=float("nan"))
    assert rows(wx.pace(nothing)) == rows(wx.pace(HISTORY))
    with pytest.raises(ValidationError, match="begin_time of the stocks frame is String"):
        wx.pace(HISTORY.assign(**{f"{PERIOD}_begin_time": "2025-08-02 08:00:00"}))


@pytest.mark.parametrize("day", ["2025-08-02", pd.Timestamp("2025-08-02"), NOON])
def test_a_fetched_day_is_a_date(day: Any) -> None:
    with pytest.raises(ValidationError, match="fetched_day of the user_coupons frame is .*not a date"):
        wx.state_history(COUPONS.assign(fetched_day=day))
    assert rows(wx.state_history(COUPONS.assign(fetched_day=None))) == []
