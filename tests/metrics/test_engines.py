"""Every engine gives the same numbers, and gets its own kind of frame back."""

from __future__ import annotations

import gc
from datetime import timedelta
from functools import cache, partial
from typing import Any

import duckdb
import narwhals as nw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wxcoupon_analytics as wx
from tests.metrics.frames import (
    ENGINES,
    HELD_IN_NUMPY,
    NOON,
    VARIANTS,
    as_engine,
    coupon,
    kinds,
    rows,
    table_of,
    user_coupons,
)
from tests.metrics.questions import COUPONS, LIFECYCLE, QUESTIONS, STAYS_LAZY, STOCKS, USER_COUPONS, Of
from tests.spark import local_session
from wxcoupon_analytics.entities.schemas import to_table
from wxcoupon_analytics.metrics import budget_use, state_breakdown


@cache
def expected(question: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The dtypes and rows that the package's own pandas frames are answered with."""
    answer = QUESTIONS[question](lambda entity, frame: frame)
    return kinds(answer), rows(answer)


def check_answer(question: str, of: Of, kind: type) -> None:
    result = QUESTIONS[question](of)
    assert isinstance(result, kind)
    expected_kinds, expected_rows = expected(question)
    assert kinds(result) == expected_kinds
    found = rows(result)
    if question.split()[0].rstrip(":") in STAYS_LAZY and isinstance(nw.from_native(result), nw.LazyFrame):
        found, expected_rows = sorted(found, key=repr), sorted(expected_rows, key=repr)
    assert found == expected_rows


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_same_numbers_in_its_own_kind(engine: str, question: str) -> None:
    check_answer(question, partial(as_engine, engine), ENGINES[engine][1])


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_does_not_matter_how_an_engine_holds_a_frame(variant: str, question: str) -> None:
    if question == "enrich" and variant in HELD_IN_NUMPY:
        pytest.skip("it hands columns through as they are, and there counts with a gap are floats, and nulls NaN")
    check_answer(question, partial(as_engine, variant), VARIANTS[variant][1])


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("time_zone", ["UTC", "America/New_York"])
def test_spark_gives_the_same_numbers(time_zone: str, question: str) -> None:
    from pyspark.sql import DataFrame

    session = local_session()
    session.conf.set("spark.sql.session.timeZone", time_zone)
    check_answer(question, lambda entity, frame: session.createDataFrame(table_of(entity, frame)), DataFrame)


def test_every_public_metric_is_asked_something() -> None:
    public = {name for name in wx.__all__ if getattr(wx, name).__module__.startswith("wxcoupon_analytics.metrics.")}
    assert {question.split()[0].rstrip(":") for question in QUESTIONS} == public


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_odd_cases_are_in_the_questions(question: str) -> None:
    """Equal answers say something only where there are any."""
    _, answer = expected(question)
    assert answer or question == "budget_use of no stocks"


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


@pytest.mark.parametrize("variant", HELD_IN_NUMPY)
def test_pandas_without_nullable_dtypes_and_in_another_zone_counts_the_same(variant: str) -> None:
    """One of what `VARIANTS` are asked in full in the slow tests: Narwhals does not know every zone by its name."""
    check_answer("state_breakdown by two", partial(as_engine, variant), VARIANTS[variant][1])


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
    """Only what is small may be collected, the states there are and the counts of them, from 300 rows."""
    from wxcoupon_analytics.metrics import states

    collected = []
    collect = states.collect
    monkeypatch.setattr(
        states, "collect", lambda frame, names: collected.append(collect(frame, names)) or collected[-1]
    )
    state_breakdown(as_engine("duckdb", "user_coupons", USER_COUPONS))
    assert [len(each) for each in collected] == [len(LIFECYCLE)] * 2
