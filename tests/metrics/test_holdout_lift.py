"""holdout_lift, sentence by sentence of design/metrics.md, and on orders whose true lift is known."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.metrics.frames import ENGINES, SHANGHAI, as_engine, rows
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics import holdout_lift
from wxcoupon_analytics.metrics.lift import newcombe_interval, welch_interval

AT = datetime(2025, 8, 2, 12, tzinfo=SHANGHAI)
DAY = timedelta(days=1)


def result(sent: int, held: int, **columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "openid": [f"user-number-{n}" for n in range(sent + held)],
            "status": ["sent"] * sent + ["held_out"] * held,
            "assigned_at": AT,
        }
    )
    return frame.assign(**columns)


def orders(*drawn: tuple[int, timedelta, int]) -> pd.DataFrame:
    frame = pd.DataFrame(drawn, columns=["user", "after", "amount_fen"])
    return pd.DataFrame(
        {
            "openid": pd.Series([f"user-number-{user}" for user in frame["user"]], dtype="string"),
            "order_time": pd.Series([AT + after for after in frame["after"]], dtype="datetime64[us, Asia/Shanghai]"),
            "amount_fen": frame["amount_fen"].astype("Int64"),
        }
    )


def lift(people: Any, outcomes: Any, **options: Any) -> dict[str, dict[str, Any]]:
    return {row["measure"]: row for row in rows(holdout_lift(people, outcomes, **{"now": AT + 14 * DAY, **options}))}


# definitions --------------------------------------------------------------------------------------------------------


def test_a_hand_computed_lift() -> None:
    """Three of four sent ordered for 100, 200 and 600 fen, one of four held out for 400."""
    found = lift(result(4, 4), orders((0, DAY, 100), (1, DAY, 200), (2, DAY, 250), (2, 2 * DAY, 350), (4, DAY, 400)))
    rate, amount = found["order_rate"], found["amount_fen"]
    assert (rate["sent_users"], rate["held_out_users"], rate["window_days"]) == (4, 4, 14.0)
    assert (rate["sent_value"], rate["held_out_value"], rate["lift"], rate["relative_lift"]) == (0.75, 0.25, 0.5, 2.0)
    assert (amount["sent_value"], amount["held_out_value"], amount["lift"]) == (225.0, 100.0, 125.0)
    assert amount["lift_low"] < 125 < amount["lift_high"]
    assert rate["as_of"] == AT + 14 * DAY
    assert list(rate) == [
        "measure",
        "sent_users",
        "held_out_users",
        "sent_value",
        "held_out_value",
        "lift",
        "lift_low",
        "lift_high",
        "relative_lift",
        "sample_ratio_p",
        "window_days",
        "as_of",
    ]


@pytest.mark.parametrize("status", ["already_sent", "failed", "unknown", "blocked", None])
def test_everyone_assigned_to_be_sent_stays_in_that_arm(status: str | None) -> None:
    people = result(4, 4)
    people.loc[0, "status"] = status
    assert lift(people, orders((0, DAY, 100)))["order_rate"]["sent_value"] == 0.25


def test_who_was_never_assigned_is_in_neither_arm() -> None:
    people = result(5, 4)
    people.loc[0, ["status", "assigned_at"]] = ["blocked", pd.NaT]
    found = lift(people, orders((0, DAY, 100), (99, DAY, 100)))["order_rate"]
    assert (found["sent_users"], found["sent_value"]) == (4, 0)


def test_orders_count_within_the_same_window_from_each_users_own_assignment() -> None:
    people = result(2, 2, assigned_at=[AT, AT + DAY, AT, AT + DAY])
    outcomes = orders(
        (0, -timedelta(seconds=1), 1),
        (0, 2 * DAY, 2),
        (0, 2 * DAY + timedelta(seconds=1), 4),
        (1, timedelta(hours=23), 8),
        (1, 3 * DAY, 16),
        (2, timedelta(0), 32),
    )
    amount = lift(people, outcomes, window_days=2)["amount_fen"]
    assert (amount["sent_value"], amount["held_out_value"]) == ((2 + 16) / 2, 32 / 2)


def test_users_whose_window_is_not_over_are_left_out_of_both_arms() -> None:
    people = result(2, 2, assigned_at=[AT, AT + 10 * DAY, AT, AT + 10 * DAY])
    found = lift(people, orders((1, 11 * DAY, 5)), window_days=7)["order_rate"]
    assert (found["sent_users"], found["held_out_users"], found["sent_value"]) == (1, 1, 0)


def test_by_default_the_window_is_what_the_last_user_assigned_has_had() -> None:
    people = result(2, 2, assigned_at=[AT, AT + DAY, AT, AT])
    row = rows(holdout_lift(people, orders((0, 2 * DAY, 5), (1, 4 * DAY, 7))))[0]
    assert (row["window_days"], row["as_of"], row["sent_value"]) == (3.0, AT + 4 * DAY, 1.0)


def test_no_orders_at_all_is_no_lift() -> None:
    for options in ({}, {"now": AT + DAY}):
        rate, amount = rows(holdout_lift(result(50, 50), orders(), **options))
        assert (rate["lift"], amount["lift"], amount["lift_low"]) == (0.0, 0.0, None)
        assert rate["lift_low"] < 0 < rate["lift_high"]


def test_a_refund_lowers_the_amount_and_is_no_order() -> None:
    found = lift(result(2, 2), orders((0, DAY, 500), (0, 2 * DAY, -200), (2, DAY, -50), (3, DAY, 0)))
    assert (found["amount_fen"]["sent_value"], found["amount_fen"]["held_out_value"]) == (150.0, -25.0)
    assert (found["order_rate"]["sent_value"], found["order_rate"]["held_out_value"]) == (0.5, 0.5)


@pytest.mark.parametrize("engine", ENGINES)
def test_amounts_add_up_beyond_what_their_own_dtype_holds(engine: str) -> None:
    """Polars adds up 32 bits in 32 bits, and a wrapped sum looks like any other."""
    most = 2**31 - 1
    drawn = orders((0, DAY, most), (0, 2 * DAY, most), (2, DAY, 1)).astype({"amount_fen": "Int32"})
    outcomes = as_engine(engine, None, drawn)
    assert lift(result(2, 2), outcomes)["amount_fen"]["sent_value"] == most


def test_groups_are_compared_each_within_itself_the_null_group_last() -> None:
    people = result(4, 4, city=["b", "b", None, "a"] * 2)
    found = rows(holdout_lift(people, orders((3, DAY, 9)), now=AT + 2 * DAY, by="city"))
    assert [(row["city"], row["measure"], row["sent_users"], row["sent_value"]) for row in found] == [
        ("a", "order_rate", 1, 1.0),
        ("a", "amount_fen", 1, 9.0),
        ("b", "order_rate", 2, 0.0),
        ("b", "amount_fen", 2, 0.0),
        (None, "order_rate", 1, 0.0),
        (None, "amount_fen", 1, 0.0),
    ]


def test_an_arm_without_users_has_no_value_and_no_lift() -> None:
    for row in lift(result(3, 0), orders((0, DAY, 1))).values():
        assert (row["held_out_users"], row["held_out_value"], row["lift"], row["lift_low"], row["relative_lift"]) == (
            0,
            None,
            None,
            None,
            None,
        )


@pytest.mark.parametrize("people", ENGINES)
@pytest.mark.parametrize("outcomes", ENGINES)
def test_result_and_outcomes_may_be_of_different_engines(people: str, outcomes: str) -> None:
    import pyarrow as pa

    drawn = orders((0, DAY, 100), (1, DAY, 200), (5, DAY, 400))
    (of_people, kind), (of_orders, _) = ENGINES[people], ENGINES[outcomes]
    found = holdout_lift(
        of_people(pa.Table.from_pandas(result(4, 4), preserve_index=False)),
        of_orders(pa.Table.from_pandas(drawn, preserve_index=False)),
        now=AT + 2 * DAY,
    )
    assert isinstance(found, kind)
    assert rows(found) == rows(holdout_lift(result(4, 4), drawn, now=AT + 2 * DAY))


@pytest.mark.parametrize(
    ("people", "outcomes", "options", "says"),
    [
        (result(2, 2).drop(columns="assigned_at"), orders(), {}, "lacks assigned_at.*plan.execute"),
        (result(2, 2, assigned_at=pd.Timestamp("2025-08-02")), orders(), {}, "assigned_at of the result is .*aware"),
        (
            result(2, 2, assigned_at=pd.Series(pd.NaT, range(4)).dt.tz_localize("UTC")),
            orders(),
            {},
            "nobody in the result",
        ),
        (result(2, 2, openid="user-number-0"), orders(), {}, r"openid …er-0 is in the experiment more than once"),
        (result(2, 2, openid=1.0), orders(), {}, "ids that went through a float"),
        (result(2, 2), orders().drop(columns="amount_fen"), {}, "outcomes lack amount_fen"),
        (result(2, 2), orders((0, DAY, 1)).astype({"amount_fen": float}), {}, "amounts are whole fen"),
        (
            result(2, 2),
            orders((0, DAY, 1)).assign(order_time=pd.Timestamp("2025-08-03")),
            {},
            "order_time of the outcomes",
        ),
        (
            result(2, 2),
            orders((0, DAY, 1)).assign(amount_fen=pd.Series([None], dtype="Int64")),
            {},
            "1 of the outcomes",
        ),
        (result(2, 2), orders((0, -DAY, 1)), {}, "nobody's window is over"),
        (result(2, 2), orders((0, DAY, 1)), {"window_days": 30, "now": AT + DAY}, "nobody's window is over"),
        (result(2, 2), orders((0, DAY, 1)), {"window_days": 0}, "window_days=0 is no window"),
        (result(2, 2), orders((0, DAY, 1)), {"holdout": 10}, "holdout=10 is no share"),
        (result(2, 2), orders((0, DAY, 1)), {"now": datetime(2025, 8, 9)}, "names no time zone"),  # noqa: DTZ001
        (result(2, 2), orders((0, DAY, 1)), {"by": "lift"}, "is a column of the result itself"),
    ],
)
def test_what_is_no_experiment_is_refused(
    people: pd.DataFrame, outcomes: pd.DataFrame, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        holdout_lift(people, outcomes, **options)


# against what was published, and against statsmodels ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "n", "b", "m", "low", "high"),
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (6, 7, 2, 7, 0.0582, 0.8062),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 20, -0.1611, 0.2775),
        (0, 10, 0, 10, -0.2775, 0.2775),
        (10, 10, 0, 20, 0.6791, 1.0000),
        (10, 10, 0, 10, 0.6075, 1.0000),
    ],
)
def test_the_rates_interval_is_newcombes(a: int, n: int, b: int, m: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17, table II, contrasts (a) to (h), method 10."""
    assert newcombe_interval(a, n, b, m) == pytest.approx((low, high), abs=5e-5)


def test_the_amounts_interval_is_welchs() -> None:
    """Worked by hand: means 3 and 8, variances 2.5 and 16, so 5/10 + 16/4 = 4.5 and 3.3… degrees of freedom."""
    sent, held = np.array([1.0, 2, 3, 4, 5]), np.array([4.0, 4, 12, 12])
    spread = [sent.var(ddof=1) / 5, held.var(ddof=1) / 4]
    freedom = sum(spread) ** 2 / (spread[0] ** 2 / 4 + spread[1] ** 2 / 3)
    low, high = welch_interval(sent, held)
    assert (low + high) / 2 == pytest.approx(-5)
    # Student's t with 3.56 degrees lies between those with 3 (3.182) and 4 (2.776).
    assert 3 < freedom < 4
    assert 2.776 < (high - low) / 2 / math.sqrt(sum(spread)) < 3.182


def test_the_amounts_interval_is_the_one_statsmodels_gave() -> None:
    """Recorded: statsmodels 0.15.0, CompareMeans.from_data(…).tconfint_diff(usevar="unequal")."""
    first = welch_interval(np.array([1.0, 2, 3, 4, 5]), np.array([4.0, 4, 12, 12]))
    assert first == pytest.approx((-12.04077995475464, 2.0407799547546412), rel=1e-9)
    second = welch_interval(np.array([0.0] * 30 + [5, 7, 90]), np.array([1.0, 2] * 20))
    assert second == pytest.approx((-3.967860026817805, 7.1496782086359865), rel=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_intervals_are_those_of_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    rng = np.random.default_rng(3)
    for _ in range(50):
        n, m = rng.integers(2, 500, 2)
        a, b = rng.integers(0, n + 1), rng.integers(0, m + 1)
        theirs = proportion.confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff")
        assert newcombe_interval(int(a), int(n), int(b), int(m)) == pytest.approx(theirs, abs=1e-9)
        sent, held = rng.lognormal(8, 1, n) * rng.integers(0, 2, n), rng.lognormal(8, 1, m)
        means = weightstats.CompareMeans.from_data(sent, held)
        assert welch_interval(sent, held) == pytest.approx(means.tconfint_diff(usevar="unequal"), rel=1e-9)


def test_uneven_arms_are_noticed() -> None:
    """60 and 40 where half and half was meant: chi-square 4, p 0.0455; 90 and 10 at a tenth: none at all."""
    uneven = lift(result(60, 40), orders(), holdout=0.5)["order_rate"]["sample_ratio_p"]
    assert uneven == pytest.approx(math.erfc(math.sqrt(4 / 2)))
    assert lift(result(90, 10, holdout=0.1), orders())["order_rate"]["sample_ratio_p"] == 1
    assert lift(result(90, 10), orders())["order_rate"]["sample_ratio_p"] is None


# on a population with a known lift ----------------------------------------------------------------------------------


def test_a_known_lift_is_found_and_none_where_there_is_none() -> None:
    """Coupons really sent on the embedded brand, its till with a lift of eight points, all arms from the same users."""
    with wx.Sandbox(seed=3, rate_limits=False, history_days=0) as box, box.client(rate=10_000) as client:
        stock_id, openids = "1000000015002", [f"oExperiment{n:05d}" for n in range(2_000)]
        ids = {"product_coupon_id": "1000000015", "stock_id": stock_id, "appid": box.appid}
        since, sent = box.now(), openids[:1_000]
        answers = client.api.map(
            "send_coupon",
            [
                (openid, {**ids, "coupon_code": f"X{n}", "send_request_no": f"lift{n:06d}"})
                for n, openid in enumerate(sent[:800])
            ],
        )
        assert sum(isinstance(answer, dict) for answer in answers) == 800
        box.advance(days=7)
        outcomes = box.orders(openids, stock_id=stock_id, since=since, rate=0.2, lift=0.1, amount_fen=3_000)
        people = pd.DataFrame(
            {
                "openid": openids,
                # A fifth of those to be sent was never reached: it stays in its arm, and the effect is of the intention.
                "status": ["sent"] * 800 + ["unknown"] * 200 + ["held_out"] * 1_000,
                "assigned_at": pd.Timestamp(since),
            }
        )
        rate, amount = rows(holdout_lift(people, outcomes, now=box.now(), holdout=0.5))
        assert rate["lift_low"] < 0.08 < rate["lift_high"]
        assert rate["lift_low"] > 0
        assert amount["lift_low"] < 0.08 * 3_000 < amount["lift_high"]
        assert rate["held_out_value"] == pytest.approx(0.2, abs=3 * math.sqrt(0.16 / 1_000))
        assert rate["sample_ratio_p"] == 1
        placebo = people.assign(status=["held_out", "sent"] * 1_000)
        row = rows(holdout_lift(placebo, outcomes, now=box.now()))[0]
        assert row["lift_low"] < 0 < row["lift_high"]
        # What was ordered before the assignment moves nothing.
        later = outcomes[outcomes["order_time"] >= since]
        assert len(later) < 0.6 * len(outcomes)
        assert rows(holdout_lift(people, later, now=box.now(), holdout=0.5)) == [rate, amount]


def test_intervals_hold_the_truth_nineteen_times_in_twenty() -> None:
    """A true lift of 0.05 and of 0.05 × 200 fen, two hundred times over."""
    rng = np.random.default_rng(8)
    held_it = np.zeros(2)
    for _ in range(200):
        sent, held = rng.binomial(1, 0.25, 900), rng.binomial(1, 0.2, 300)
        low, high = newcombe_interval(int(sent.sum()), 900, int(held.sum()), 300)
        held_it[0] += low < 0.05 < high
        low, high = welch_interval(sent * rng.exponential(200, 900), held * rng.exponential(200, 300))
        held_it[1] += low < 10 < high
    assert (np.abs(held_it / 200 - 0.95) < 0.05).all()
