"""redemption_rate and redemption_curve, sentence by sentence of design/metrics.md."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wxcoupon_analytics as wx
from tests.metrics.frames import NOON, coupon, only, rows, user_coupons
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import redemption_curve, redemption_rate

RECORDED = Path(__file__).parents[1] / "recorded" / "redemption_curve.lifelines.json"
STATES = ["CONFIRMING", "PENDING", "EFFECTIVE", "USED", "EXPIRED", "DELETED", "DEACTIVATED", "NEW", None]
SHARES = ("used_share", "expired_share", "deleted_share", "deactivated_share", "open_share")
START = NOON - timedelta(days=30)


def hours(count: float) -> datetime:
    return START + timedelta(hours=count)


# redemption_rate ----------------------------------------------------------------------------------------------------


def test_a_hand_computed_rate() -> None:
    past, ahead = NOON - timedelta(days=1), NOON + timedelta(days=1)
    frame = user_coupons(
        coupon("1", "USED", valid_end_time=past),
        coupon("2", "USED", valid_end_time=ahead),
        coupon("3", "EXPIRED", valid_end_time=past, confirm_time=past),
        coupon("4", "EXPIRED", valid_end_time=past),  # never confirmed
        coupon("5", "DELETED", valid_end_time=ahead, confirm_time=past),
        coupon("6", "EFFECTIVE", valid_end_time=ahead),
        coupon("7", "PENDING", valid_end_time=None),
        coupon("8", "CONFIRMING", valid_end_time=ahead),
        coupon("9", "NEW", valid_end_time=past, confirm_time=past),
    )
    assert only(redemption_rate(frame)) == {
        "used_count": 2,
        "confirmed_count": 7,
        "redemption_rate": 2 / 7,
        "matured_used_count": 1,
        "matured_confirmed_count": 3,
        "matured_rate": 1 / 3,
        "as_of": NOON,
    }


def test_a_use_taken_back_is_none_but_the_coupon_stays_confirmed() -> None:
    frame = user_coupons(coupon("1", "USED", NOON - timedelta(days=1)), coupon("1", "EFFECTIVE"))
    row = only(redemption_rate(frame))
    assert (row["used_count"], row["confirmed_count"], row["redemption_rate"]) == (0, 1, 0.0)


def test_validity_that_ends_at_the_second_of_the_fetch_has_not_passed() -> None:
    assert only(redemption_rate(user_coupons(coupon("1", "USED", valid_end_time=NOON))))["matured_rate"] is None


def test_nothing_confirmed_is_no_rate_and_nothing_at_all_is_one_row_of_it() -> None:
    for frame in (user_coupons(coupon("1", "CONFIRMING")), user_coupons()):
        row = only(redemption_rate(frame))
        assert (row["used_count"], row["confirmed_count"], row["redemption_rate"], row["matured_rate"]) == (
            0,
            0,
            None,
            None,
        )
    assert rows(redemption_rate(user_coupons(), by="stock_id")) == []


def test_groups_are_sorted_with_the_null_group_last_and_two_brands_do_not_mix() -> None:
    frame = user_coupons(
        *(
            coupon("1", "USED", brand_id=brand, openid=openid)
            for brand, openid in (("b1", "z"), ("b2", None), (None, "a"))
        )
    )
    result = rows(redemption_rate(frame, by="openid"))
    assert [(row["openid"], row["confirmed_count"]) for row in result] == [("a", 1), ("z", 1), (None, 1)]


@pytest.mark.parametrize(
    ("ask", "by"),
    [
        (redemption_rate, ["stock_id", "stock_id"]),
        (redemption_rate, "as_of"),
        (redemption_rate, "used_count"),
        (redemption_curve, ["stock_id", "stock_id"]),
        (redemption_curve, "as_of"),
        (redemption_curve, "used_share"),
    ],
)
def test_a_group_that_would_clash_is_refused(ask: Any, by: Any) -> None:
    with pytest.raises(ValidationError, match="given twice or is a column of the result"):
        ask(user_coupons(), by=by)


def test_what_a_store_has_of_unchanged_coupons_takes_its_current_state(tmp_path: Path) -> None:
    """Of ten coupons five are used on the first day; the others stay as they are until they expire, on day 20."""
    store = wx.SnapshotStore(tmp_path)

    def read(day: int) -> None:
        states = [
            ("USED" if n < 5 else "EXPIRED" if day > 20 else "EFFECTIVE") if day else "EFFECTIVE" for n in range(10)
        ]
        coupons = (
            coupon(
                str(n),
                state,
                START + timedelta(days=day),
                openid="u",
                appid="a",
                receive_time=START,
                confirm_time=START,
                valid_end_time=START + timedelta(days=20),
                single_usage_detail_use_time=hours(5) if state == "USED" else None,
            )
            for n, state in enumerate(states)
        )
        store.save("user_coupons", user_coupons(*coupons), taken_at=START + timedelta(days=day))

    for day in (0, 1, 10):
        read(day)
    young = store.load("user_coupons")
    assert rows(redemption_curve(young))[-1]["used_share"] == 0.5
    read(21)
    current, history = store.load("user_coupons"), store.history("user_coupons")
    assert only(redemption_rate(current))["matured_rate"] == 0.5
    for ask in (redemption_rate, redemption_curve):
        assert rows(ask(pd.concat([current, history]))) == rows(ask(current))
        with pytest.raises(ValidationError, match="is a history"):
            ask(history)
        assert rows(ask(history.head(0))) == rows(ask(current.head(0)))


def test_what_is_settled_matures_with_its_stock() -> None:
    """A refresh does not ask for who holds only a deleted coupon, and yet that one is among those whose time is over."""
    ends = {"confirm_time": START, "valid_end_time": hours(48)}
    expired = coupon("1", "EXPIRED", hours(60), **ends)
    used = coupon("2", "USED", hours(60), **ends)
    settled = [coupon(str(n), state, hours(24), **ends) for n, state in enumerate(("DELETED", "DEACTIVATED"), 3)]
    row = only(redemption_rate(user_coupons(expired, used, *settled)))
    assert (row["matured_used_count"], row["matured_confirmed_count"], row["matured_rate"]) == (1, 4, 0.25)
    row = only(redemption_rate(user_coupons(*settled)))
    assert row["matured_rate"] is None, "nothing says that the time is over"
    elsewhere = {**expired, "stock_id": "2"}
    assert only(redemption_rate(user_coupons(elsewhere, *settled)))["matured_confirmed_count"] == 1
    for state in ("EFFECTIVE", "USED"):  # what a refresh asks for again, and has not been asked for
        not_read_since = coupon("9", state, hours(24), **ends)
        assert only(redemption_rate(user_coupons(expired, not_read_since)))["matured_confirmed_count"] == 1
    unnamed = [{**it, "stock_id": None} for it in (expired, *settled)]
    assert only(redemption_rate(user_coupons(*unnamed)))["matured_confirmed_count"] == 1


def test_a_coupon_that_was_asked_for_and_not_there_is_confirmed_not_used_and_watched_until_it_was_last_seen() -> None:
    known = {"receive_time": START, "confirm_time": START, "valid_end_time": hours(30)}
    open_one, gone = coupon("1", "EFFECTIVE", hours(30), **known), coupon("1", None, hours(90), **known)
    row = only(redemption_rate(user_coupons(open_one, gone)))
    assert (row["used_count"], row["confirmed_count"], row["matured_confirmed_count"]) == (0, 1, 1)
    assert [row["at_risk"] for row in curve([open_one, gone])] == [1, 1]
    assert curve([gone]) == []


@pytest.mark.parametrize("ask", [redemption_rate, redemption_curve])
def test_missing_columns_and_ids_that_went_through_a_float_are_refused(ask: Any) -> None:
    with pytest.raises(ValidationError, match="lacks channel, confirm_time|lacks confirm_time.*channel"):
        ask(user_coupons().drop(columns="confirm_time"), by="channel")
    with pytest.raises(ValidationError, match="ids that went through a float"):
        ask(user_coupons(coupon("1", "USED")).assign(coupon_code=[1.0]))


# redemption_curve ---------------------------------------------------------------------------------------------------


def life(code: str, cause: str, after: float, **more: Any) -> list[dict[str, Any]]:
    """Readings of a coupon received at START whose life ends so many hours later."""
    end = hours(after)
    facts: dict[str, Any] = {"receive_time": START, "confirm_time": START, "valid_end_time": hours(10_000), **more}
    if cause == "USED":
        return [coupon(code, cause, NOON + timedelta(days=400), single_usage_detail_use_time=end, **facts)]
    if cause == "EXPIRED":
        return [coupon(code, cause, NOON + timedelta(days=400), **facts | {"valid_end_time": end})]
    if cause == "DEACTIVATED":
        return [coupon(code, cause, NOON + timedelta(days=400), deactivate_time=end, **facts)]
    if cause == "DELETED":  # between two readings, an hour apart
        alive, gone = end - timedelta(minutes=30), end + timedelta(minutes=30)
        return [coupon(code, "EFFECTIVE", alive, **facts), coupon(code, "DELETED", gone, **facts)]
    return [coupon(code, cause, end, **facts)]


def curve(*lives: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    return rows(redemption_curve(user_coupons(*(reading for readings in lives for reading in readings)), **options))


def test_a_hand_computed_curve() -> None:
    """Four coupons: one used on the first day, one expired on the second, one watched into the third, one used on the fourth."""
    result = curve(life("1", "USED", 12), life("2", "EXPIRED", 36), life("3", "EFFECTIVE", 60), life("4", "USED", 80))
    assert [(row["day"], row["at_risk"], *(row[share] for share in SHARES)) for row in result] == [
        (0, 4, 0, 0, 0, 0, 1),
        (1, 3, 0.25, 0, 0, 0, 0.75),
        (2, 2, 0.25, 0.25, 0, 0, 0.5),
        (3, 1, 0.25, 0.25, 0, 0, 0.5),
        (4, 0, 0.75, 0.25, 0, 0, 0),
    ]
    # Binomial on the first day: F (1 − F) / n, on the scale of log(−log).
    width = 1.959963984540054 * math.sqrt(0.25 * 0.75 / 4) / (0.25 * math.log(0.25))
    assert result[1]["used_low"] == pytest.approx(0.25 ** math.exp(-width))
    assert result[1]["used_high"] == pytest.approx(0.25 ** math.exp(width))
    assert result[0]["used_low"] is None


def test_a_naive_share_is_biased_for_young_coupons_and_this_is_not() -> None:
    """Half of all coupons are used in their second day; half of the coupons are one day old."""
    old = [life(f"o{n}", "USED" if n % 2 else "EFFECTIVE", 30 if n % 2 else 100) for n in range(100)]
    young = [life(f"y{n}", "EFFECTIVE", 25) for n in range(100)]
    assert curve(*old, *young)[2]["used_share"] == 0.5
    assert sum(reading["coupon_state"] == "USED" for each in [*old, *young] for reading in each) / 200 == 0.25


def test_a_deletion_is_dated_between_the_readings_around_it_and_their_distance_is_reported() -> None:
    """Alive after 20 hours, gone after 40: at 30, on the second day, in an interval of 20 hours."""
    readings = [
        coupon("1", "EFFECTIVE", hours(5), receive_time=START),
        coupon("1", "EFFECTIVE", hours(20), receive_time=START),
        coupon("1", "DELETED", hours(40), receive_time=START),
        coupon("1", "DELETED", hours(90), receive_time=START),
    ]
    result = curve(readings)
    assert [row["deleted_share"] for row in result] == [0, 0, 1]
    assert {row["deletion_width_days"] for row in result} == {20 / 24}
    assert curve(readings[::-1]) == result


def test_a_deletion_after_a_use_taken_back_is_dated_by_the_first_reading_that_shows_it() -> None:
    states = [(5, "EFFECTIVE"), (10, "USED"), (20, "EFFECTIVE"), (40, "DELETED"), (90, "DELETED"), (900, "DELETED")]
    result = curve([coupon("1", state, hours(hour), receive_time=START) for hour, state in states])
    assert [row["deleted_share"] for row in result] == [0, 0, 1]
    assert {row["deletion_width_days"] for row in result} == {20 / 24}


def test_a_deletion_seen_once_lies_between_confirmation_and_that_reading() -> None:
    known = {"receive_time": START, "confirm_time": hours(2)}
    assert [row["deleted_share"] for row in curve([coupon("1", "DELETED", hours(70), **known)])] == [0, 0, 1]  # at 36
    assert [row["deleted_share"] for row in curve([coupon("1", "DELETED", hours(70), receive_time=START)])] == [0, 0, 1]


def test_the_use_of_a_bundle_step_has_its_time_and_that_of_a_coupon_of_several_its_midpoint() -> None:
    step = coupon("1", "USED", hours(100), receive_time=START, progressive_bundle_usage_detail_use_time=hours(12))
    assert [row["used_share"] for row in curve([step])] == [0, 1]
    rounds = [coupon("2", state, hours(hour), receive_time=START) for state, hour in (("EFFECTIVE", 40), ("USED", 50))]
    result = curve(rounds)
    assert [row["used_share"] for row in result] == [0, 0, 1]
    assert result[0]["deletion_width_days"] is None


def test_a_use_taken_back_is_none_and_the_coupon_is_watched_on() -> None:
    back = [
        coupon("1", "USED", hours(12), receive_time=START, single_usage_detail_use_time=hours(10)),
        coupon("1", "EFFECTIVE", hours(60), receive_time=START),
    ]
    assert [(row["at_risk"], row["used_share"]) for row in curve(back)] == [(1, 0), (1, 0), (1, 0)]
    again = coupon("1", "USED", hours(90), receive_time=START)  # its time is not told: after 60, by 90
    assert [row["used_share"] for row in curve([*back, again])] == [0, 0, 0, 0, 1]


def test_a_state_invented_later_counts_until_the_coupon_was_last_seen_open() -> None:
    seen = [
        coupon("1", "EFFECTIVE", hours(30), receive_time=START),
        coupon("1", "FROZEN", hours(90), receive_time=START),
    ]
    assert [row["at_risk"] for row in curve(seen)] == [1, 1]
    assert curve(seen[1:]) == []


def test_coupons_known_only_because_they_were_used_are_left_out() -> None:
    told = life("1", "USED", 5)
    known = life("2", "EFFECTIVE", 50)
    frame = user_coupons(*told, *known)
    assert rows(redemption_curve(frame))[1]["used_share"] == 0.5
    for event in ("USE", "RETURN"):
        assert rows(redemption_curve(frame.assign(event=[event, None])))[1]["used_share"] == 0
    # One that was fetched too, or whose sending was reported, is known anyway.
    fetched = pd.concat([frame.assign(event=["USE", None]), user_coupons(*told).assign(event=None)])
    assert rows(redemption_curve(fetched))[1]["used_share"] == 0.5
    assert rows(redemption_curve(frame.assign(event=["SEND", None])))[1]["used_share"] == 0.5


def test_coupons_without_a_receipt_are_left_out_and_an_end_before_it_is_at_once() -> None:
    assert curve([coupon("1", "USED")]) == []
    early = life("1", "USED", -3)
    assert [row["used_share"] for row in curve(early)] == [0, 1]


def test_rows_without_ids_are_nobodys_double() -> None:
    nameless = [
        reading | {"coupon_code": None}
        for reading in (*life("1", "USED", 5), *life("2", "EFFECTIVE", 50), *life("3", "DELETED", 9)[1:])
    ]
    assert curve(nameless)[0]["at_risk"] == 3


def test_groups_have_curves_of_their_own_and_two_brands_do_not_mix() -> None:
    result = curve(life("1", "USED", 5), life("1", "EFFECTIVE", 30, brand_id="b2"), by="brand_id")
    assert [(row["brand_id"], row["day"], row["used_share"]) for row in result] == [
        ("b1", 0, 0),
        ("b1", 1, 1),
        ("b2", 0, 0),
        ("b2", 1, 0),
    ]


@settings(deadline=None, max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ABCDEFG"),
            st.sampled_from(STATES),
            st.integers(0, 400),
            st.integers(-5, 300),
            st.sampled_from(["u1", "u2", None]),
        ),
        max_size=25,
    )
)
def test_shares_stay_within_0_and_1_add_up_to_1_and_never_fall(drawn: list[tuple[Any, ...]]) -> None:
    frame = user_coupons(
        *(
            coupon(
                code,
                state,
                hours(hour),
                receive_time=START,
                valid_end_time=hours(end),
                deactivate_time=hours(end) if state == "DEACTIVATED" else None,
                single_usage_detail_use_time=hours(end) if end % 2 else None,
                openid=openid,
            )
            for code, state, hour, end, openid in drawn
        )
    )
    result = rows(redemption_curve(frame, by="openid"))
    before: dict[Any, dict[str, Any]] = {}
    for row in result:
        assert sum(row[share] for share in SHARES) == pytest.approx(1)
        assert all(-1e-12 <= row[share] <= 1 + 1e-12 for share in SHARES)
        if row["used_low"] is not None:
            assert 0 <= row["used_low"] <= row["used_share"] <= row["used_high"] <= 1
        last = before.get(row["openid"])
        assert row["day"] == (last["day"] + 1 if last else 0)
        if last:
            assert row["at_risk"] <= last["at_risk"]
            assert all(row[share] >= last[share] - 1e-12 for share in SHARES[:4])
        before[row["openid"]] = row
    rate = only(redemption_rate(frame))
    assert rate["used_count"] <= rate["confirmed_count"]
    assert rate["matured_used_count"] <= rate["matured_confirmed_count"] <= rate["confirmed_count"]


# against lifelines --------------------------------------------------------------------------------------------------

CAUSES = {"USED": 1, "EXPIRED": 2, "DELETED": 3, "DEACTIVATED": 4, "EFFECTIVE": 0}


def draw_lives(seed: int = 5, count: int = 400) -> list[tuple[int, str]]:
    """Lives of whole hours, in each of which coupons end by one cause only: lifelines jitters ties of several."""
    rng = np.random.default_rng(seed)
    causes = rng.choice(list(CAUSES), 900, p=[0.3, 0.2, 0.1, 0.1, 0.3])
    ages = np.minimum(rng.exponential(150, count).astype(int), 899)
    return [(int(age), str(causes[age])) for age in ages]


def by_lifelines(lives: list[tuple[int, str]]) -> dict[str, list[float]]:
    """What lifelines says at the end of every day: the incidence of each cause, and the interval of USED."""
    lifelines = pytest.importorskip("lifelines")
    # In the middle of the hour: lifelines takes what happens at 0 for the beginning.
    ages, causes = [age + 0.5 for age, _ in lives], [CAUSES[cause] for _, cause in lives]
    found: dict[str, list[float]] = {}
    ends = [24 * day for day in range(1, int(max(ages)) // 24 + 1)]
    for cause, number in list(CAUSES.items())[:4]:
        fitter = lifelines.AalenJohansenFitter().fit(ages, causes, event_of_interest=number)
        at = fitter.cumulative_density_.index.searchsorted(ends, side="right") - 1
        found[cause] = fitter.cumulative_density_.iloc[at, 0].tolist()
        if cause == "USED":
            interval = fitter.confidence_interval_.iloc[at]
            found["low"], found["high"] = interval.min(axis=1).tolist(), interval.max(axis=1).tolist()
    return found


def by_us(lives: list[tuple[int, str]]) -> dict[str, list[float]]:
    result = curve(*(life(str(number), cause, age + 0.5) for number, (age, cause) in enumerate(lives)))[1:]
    names = {cause: f"{cause.lower()}_share" for cause in list(CAUSES)[:4]} | {"low": "used_low", "high": "used_high"}
    return {name: [row[column] for row in result] for name, column in names.items()}


def test_the_curve_is_the_one_lifelines_gave() -> None:
    """Recorded, because lifelines pins an older pandas: lives, and what AalenJohansenFitter made of them."""
    recorded = json.loads(RECORDED.read_text("utf-8"))
    lives = [(age, cause) for age, cause in recorded["lives"]]
    assert Counter(cause for _, cause in lives).keys() == CAUSES.keys()
    ours = by_us(lives)
    for name, theirs in recorded["days"].items():
        assert ours[name][: len(theirs)] == pytest.approx(theirs, abs=1e-9), name
        assert len(theirs) > 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_the_one_lifelines_gives(seed: int) -> None:
    lives = draw_lives(seed)
    theirs, ours = by_lifelines(lives), by_us(lives)
    for name, values in theirs.items():
        pairs = [(x, y) for x, y in zip(ours[name], values, strict=False) if x is not None and not math.isnan(y)]
        assert len(pairs) > 20
        assert [x for x, _ in pairs] == pytest.approx([y for _, y in pairs], abs=1e-9), name


def record() -> None:
    """Write the recorded numbers anew: ``python -c "from tests.metrics.test_redemption import record; record()"``."""
    import lifelines

    lives = draw_lives()
    made = {
        "made_with": f"lifelines {lifelines.__version__}, AalenJohansenFitter; tests/metrics/test_redemption.py: record()",
        "lives": lives,
        "days": by_lifelines(lives),
    }
    RECORDED.write_text(json.dumps(made) + "\n", "utf-8")
