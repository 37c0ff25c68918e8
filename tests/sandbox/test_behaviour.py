"""The hazards that customers live by: inverted exactly, carried to the server whole, and refused where they make no sense."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxcoupon_analytics.sandbox import Behaviour, Sandbox, Segment
from wxcoupon_analytics.sandbox.behaviour import _instant
from wxcoupon_analytics.sandbox.clock import DAY, midnight, quota_day, weekday

MONDAY = 1_793_548_800 - 8 * 3_600 + 10 * 3_600  # 2026-11-02 10:00 in Beijing
FACTORS = st.lists(st.floats(0, 4), min_size=7, max_size=7)


def cumulative(begin: int, at: int, week: list[float], shape: float, scale_days: float) -> float:
    """The cumulative hazard, from midnight to midnight."""
    edges = [begin, *(midnight(day) for day in range(quota_day(begin) + 1, quota_day(at) + 1)), at]
    ages = [((edge - begin) / DAY / scale_days) ** shape for edge in edges]
    days = [weekday(quota_day(edge)) for edge in edges[:-1]]
    return sum(week[day] * (b - a) for day, (a, b) in zip(days, pairwise(ages), strict=True))


def test_this_monday_is_one() -> None:
    assert weekday(quota_day(MONDAY)) == 0


@given(
    st.integers(0, 7 * DAY), st.integers(60, 60 * DAY), st.floats(0, 0.999), FACTORS, st.floats(0.4, 2), st.floats(1, 9)
)
def test_an_instant_is_where_the_cumulative_hazard_reaches_the_draw(
    later: int, span: int, chance: float, week: list[float], shape: float, scale: float
) -> None:
    begin, wanted = MONDAY + later, -math.log(1 - chance)
    found = _instant(begin, begin + span, chance, week, shape, scale)
    if found is None:
        assert cumulative(begin, begin + span, week, shape, scale) <= wanted + 1e-9
    else:
        assert begin <= found <= begin + span
        before, after = (cumulative(begin, at, week, shape, scale) for at in (found, found + 1))
        assert before - 1e-6 <= wanted <= after + 1e-6


def test_a_day_without_hazard_ends_nothing() -> None:
    weekend = (0, 0, 0, 0, 0, 1, 1)
    found = [_instant(MONDAY, MONDAY + 28 * DAY, chance / 50, weekend, 1.0, 3.0) for chance in range(50)]
    days = {weekday(quota_day(at)) for at in found if at is not None}
    assert days == {5, 6}


def test_parameters_of_any_kind_of_sequence_and_number_are_kept_and_written_whole() -> None:
    given = Behaviour(
        arrivals=np.ones(7),
        never_confirmed=np.int64(0),
        segments={"all": Segment(2, use=[1, 2, 3, 4, 5, 6, np.float32(7)])},
    )
    assert given == Behaviour(arrivals=(1,) * 7, never_confirmed=0, segments={"all": Segment(2, use=range(1, 8))})
    for behaviour in (given, Behaviour()):
        assert Behaviour.from_document(json.loads(json.dumps(behaviour.to_document()))) == behaviour


def test_a_brand_of_one_s_own_behaves_as_told() -> None:
    families = {"families": Segment(1.0)}
    with Sandbox(history_days=4, behaviour=Behaviour(never_confirmed=1, segments=families)) as box:
        assert set(box.truth("user_coupons")["coupon_state"]) == {"CONFIRMING", "EXPIRED"}
        assert set(box.customers()["segment"]) == {"families"}
        assert len(box.customers()) == 3_000


def test_every_parameter_reaches_the_server() -> None:
    eager = Behaviour(never_confirmed=0, returned=1, comes_again=0, use_shape=3, use_scale_days=0.2, deletions_a_day=0)
    with Sandbox(history_days=4, behaviour=eager) as box:
        assert box._greeting is not None
        assert Behaviour.from_document(box._greeting["behaviour"]) == eager
        box.advance(days=4)
        states = box.truth("user_coupons")
        assert not states["coupon_state"].isin(["CONFIRMING", "DELETED"]).any()
        old = states[(states["stock_id"] == "1000000013001") & (states["receive_time"] < box.now() - timedelta(days=4))]
        assert "USED" not in set(old["coupon_state"]), "each use is taken back within two days, and nobody comes again"
        assert old["single_usage_detail_return_time"].notna().mean() > 0.2


def test_customers_without_a_brand_are_refused() -> None:
    with pytest.raises(ValueError, match="population=False has none"):
        Sandbox(population=False, behaviour=Behaviour())


def test_what_chance_decides_of_a_coupon_is_decided_matter_by_matter(box: Sandbox) -> None:
    """A label tells nothing of what becomes of its coupon, nor the city of a coupon whether it is returned."""
    coupons = box.truth("user_coupons")
    used = coupons[coupons["single_usage_detail_use_time"].notna()]
    activity = used["channel_custom_info"].str.extract(r"(\d+)")[0].astype("Float64")
    age = (used["single_usage_detail_use_time"] - used["receive_time"]).dt.total_seconds()
    known = pd.DataFrame({"activity": activity, "age": age}).dropna().astype(float)
    assert len(known) > 300
    assert abs(known.corr("spearman").iloc[0, 1]) < 3 / math.sqrt(len(known))
    city = coupons["attach"].str.extract("city=(.*)")[0]
    returned = coupons.loc[coupons["single_usage_detail_return_time"].notna(), "stock_id"].index
    assert city.loc[returned].nunique() > 1
    hours = used["single_usage_detail_use_time"].dt.hour
    labelled = used["attach"].notna()
    assert abs(hours[labelled].median() - hours[~labelled].median()) <= 2


def test_customers_are_known_whether_or_not_they_hold_a_coupon(box: Sandbox) -> None:
    known = box.customers()
    assert {name: str(dtype) for name, dtype in known.dtypes.items()} == {"openid": "string", "segment": "string"}
    assert set(box.openids()) < set(known["openid"])
    assert not known["openid"].duplicated().any()
    shares = known["segment"].value_counts(normalize=True)
    for name, segment in box.behaviour.segments.items():
        assert shares[name] == pytest.approx(segment.share, abs=0.03)
    with Sandbox(population=False) as empty:
        assert empty.customers().columns.tolist() == ["openid", "segment"]
        assert len(empty.customers()) == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"arrivals": (1.0,) * 6}, "arrivals must have 7 numbers, Monday to Sunday, not 6"),
        ({"never_confirmed": 1.5}, "never_confirmed=1.5 must be from 0 to 1"),
        ({"returned": -0.1}, "returned=-0.1 must be from 0 to 1"),
        ({"use_scale_days": 0}, "use_scale_days=0 must be more than 0"),
        ({"deletions_a_day": -1}, "deletions_a_day must not hold -1"),
        ({"deletions_a_day": math.nan}, "deletions_a_day must not hold nan"),
        ({"segments": {}}, "at least one whose share is more than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Behaviour(**wrong)


def test_a_segment_has_seven_days() -> None:
    with pytest.raises(ValueError, match="use must have 7 numbers"):
        Segment(1.0, use=(1.0,))
    with pytest.raises(ValueError, match="delete must not hold -1"):
        Segment(1.0, delete=(1, 1, 1, 1, 1, 1, -1))
