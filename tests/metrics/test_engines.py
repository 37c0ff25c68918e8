"""Every engine gives the same numbers, and gets its own kind of frame back."""

from __future__ import annotations

import gc
import random
from datetime import timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.metrics.frames import (
    ENGINES,
    NOON,
    as_engine,
    coupon,
    product_coupon,
    product_coupons,
    rows,
    stock,
    stocks,
    user_coupons,
)
from wxcoupon_analytics.entities.schemas import to_table
from wxcoupon_analytics.metrics import budget_use, remaining_daily_quota, state_breakdown

LIFECYCLE = ["CONFIRMING", "PENDING", "EFFECTIVE", "USED", "EXPIRED", "DELETED", "DEACTIVATED", "NEW", None]
STOCKS = stocks(
    stock(
        "s1",
        max_count=1000,
        sent=250,
        per_day=10,
        today=3,
        remark="一",
        single_usage_rule_normal_coupon_discount_amount=5,
    ),
    stock("s2", max_count=0, sent=1, state="PAUSED", fetched_at=NOON - timedelta(days=2)),
    stock(
        "s3",
        product_coupon_id="p2",
        coupon_code_mode="UPLOAD",
        codes=4,
        sequential_usage_rule_discount_coupon_list=[
            {"threshold": 999, "percent_off": 15},
            {"threshold": 5, "percent_off": 50},
        ],
    ),
    stock("s4", product_coupon_id="p9", state=None),
)
COUPONS = product_coupons(
    product_coupon("p1", type="NORMAL", usage_mode="SINGLE"),
    product_coupon("p2", type="DISCOUNT", usage_mode="SEQUENTIAL", display_info_name="折"),
)
_CHANCE = random.Random(4)
USER_COUPONS = user_coupons(
    *(
        coupon(
            str(_CHANCE.randrange(40)),
            _CHANCE.choice(LIFECYCLE),
            NOON + timedelta(seconds=_CHANCE.randrange(6)),
            stock_id=_CHANCE.choice(["s1", "s2"]),
            openid=_CHANCE.choice(["u1", "u2", None]),
        )
        for _ in range(300)
    )
)

QUESTIONS = {
    "budget_use": lambda of: budget_use(of("stocks", STOCKS), of("product_coupons", COUPONS)),
    "budget_use of no stocks": lambda of: budget_use(of("stocks", STOCKS.head(0))),
    "remaining_daily_quota": lambda of: remaining_daily_quota(of("stocks", STOCKS), now=NOON),
    "state_breakdown": lambda of: state_breakdown(of("user_coupons", USER_COUPONS)),
    "state_breakdown by two": lambda of: state_breakdown(
        of("user_coupons", USER_COUPONS), by=["openid", "fetched_day"]
    ),
    "state_breakdown of rows": lambda of: state_breakdown(of("user_coupons", USER_COUPONS), deduplicate=False),
    "state_breakdown of nothing": lambda of: state_breakdown(of("user_coupons", USER_COUPONS.head(0))),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_same_numbers_in_its_own_kind(engine: str, question: str) -> None:
    ask = QUESTIONS[question]
    result = ask(lambda entity, frame: as_engine(engine, entity, frame))
    assert isinstance(result, ENGINES[engine][1])
    assert rows(result) == rows(ask(lambda entity, frame: frame))


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    drawn=st.lists(
        st.tuples(
            st.sampled_from("AB"), st.sampled_from(LIFECYCLE), st.integers(0, 2), st.sampled_from(["u", "v", None])
        ),
        max_size=12,
    )
)
def test_engines_agree_on_any_history_with_ties_and_nulls(engine: str, drawn: list[tuple[Any, ...]]) -> None:
    history = user_coupons(
        *(coupon(code, state, NOON + timedelta(seconds=second), openid=openid) for code, state, second, openid in drawn)
    )
    result = state_breakdown(as_engine(engine, "user_coupons", history), by="openid")
    assert rows(result) == rows(state_breakdown(history, by="openid"))


def test_stocks_and_product_coupons_may_come_from_different_engines() -> None:
    mixed = budget_use(as_engine("polars", "stocks", STOCKS), as_engine("duckdb", "product_coupons", COUPONS))
    assert rows(mixed) == rows(budget_use(STOCKS, COUPONS))


def test_a_duckdb_result_belongs_to_the_callers_connection_and_outlives_the_call() -> None:
    connection = duckdb.connect()
    connection.register("stocks", to_table("stocks", STOCKS))
    result = budget_use(connection.table("stocks"))
    gc.collect()
    joined = result.set_alias("use").join(
        connection.table("stocks").set_alias("stock"), "use.stock_id = stock.stock_id"
    )
    assert joined.aggregate("count(*)").fetchall() == [(len(STOCKS),)]
    assert connection.execute("SELECT view_name FROM duckdb_views() WHERE view_name LIKE 'wxcoupon%'").fetchall() == []


def test_a_duckdb_input_is_aggregated_by_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only rows of the aggregate may be collected: seven states here, from 300 rows."""
    from wxcoupon_analytics.metrics import states

    collected = []
    collect = states.collect
    monkeypatch.setattr(
        states, "collect", lambda frame, names: collected.append(collect(frame, names)) or collected[-1]
    )
    state_breakdown(as_engine("duckdb", "user_coupons", USER_COUPONS))
    assert sum(map(len, collected)) <= len(LIFECYCLE)
