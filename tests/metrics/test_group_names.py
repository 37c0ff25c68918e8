"""A metric's groups may have any name but those that its result adds, in every engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import wxcoupon_analytics as wx
from tests.metrics.frames import ENGINES, rows, table_of, to_pandas_of_numpy
from tests.metrics.questions import ORDERS, RESULT, USER_COUPONS
from tests.spark import local_session
from wxcoupon_analytics.errors import ValidationError


class Ask(Protocol):
    def __call__(self, frame: Any, *, by: str | list[str]) -> Any: ...


METRICS: Mapping[str, Ask] = {
    "state_breakdown": lambda frame, by: wx.state_breakdown(frame, by=by),
    "state_breakdown of rows": lambda frame, by: wx.state_breakdown(frame, by=by, deduplicate=False),
    "coupon_funnel": lambda frame, by: wx.coupon_funnel(frame, by=by),
    "redemption_rate": lambda frame, by: wx.redemption_rate(frame, by=by),
    "redemption_curve": lambda frame, by: wx.redemption_curve(frame, by=by),
    "holdout_lift": lambda frame, by: wx.holdout_lift(frame, ORDERS, by=by),
}
# What one or the other of them works out, what no name should be, and, in other letters, what their frames hold.
NAMES = [
    "is_used",
    "is_confirmed",
    "is_matured",
    "assigned_us",
    "is_held_out",
    "cause",
    "hour",
    "passed",
    "alive",
    "told",
]
# Before 2.0 DuckDB does not find a column of its own frame again whose name has quotes.
ODD = ["group 0", "rows", "taken at", "share ", *(['a "quoted" name'] if duckdb.__version__ >= "2" else []), "渠道"]
CASES = ["STOCK_ID", "Coupon_State", "Fetched_At", "OpenID", "Status"]
MINDS_NO_CASE = ("duckdb", "spark")


def table(metric: str, names: list[str]) -> pa.Table:
    """The metric's frame, with columns of these names which say the same as the one that is called plain."""
    frame = table_of(None, RESULT) if metric == "holdout_lift" else table_of("user_coupons", USER_COUPONS)
    plain = frame["segment"] if metric == "holdout_lift" else frame["openid"]
    frame = frame.append_column("plain", plain)
    for name in names:
        frame = frame.append_column(name, plain)
    return frame


def check(metric: str, engine: str, convert: Any, names: list[str]) -> None:
    """Grouped by a column of this name, the answer is that of the column called plain; by all of them, too."""
    if engine in MINDS_NO_CASE:
        known = {name.lower() for name in table(metric, []).column_names}
        names = [name for name in names if name.lower() not in known]
    held = table(metric, names)
    expected = [list(row.values()) for row in rows(METRICS[metric](held, by="plain"))]
    assert len(expected) > 1
    frame = convert(held)
    for name in names:
        found = rows(METRICS[metric](frame, by=name))
        assert [list(row.values()) for row in found] == expected, name
        assert next(iter(found[0])) == name
    found = rows(METRICS[metric](frame, by=names))
    assert list(found[0])[: len(names)] == names
    assert [[row[names[-1]], *list(row.values())[len(names) :]] for row in found] == expected


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_group_may_have_any_name(engine: str, metric: str) -> None:
    check(metric, engine, ENGINES[engine][0], [NAMES[0], *ODD[::2], *CASES[::2]])


@pytest.mark.parametrize("name", [*NAMES, "count", "end", "received", "width"])
@pytest.mark.parametrize("metric", ["redemption_rate", "redemption_curve"])
def test_a_group_may_be_named_as_what_a_rate_or_a_curve_works_out(metric: str, name: str) -> None:
    check(metric, "pandas-arrow", ENGINES["pandas-arrow"][0], [name])


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_in_spark_too_a_group_may_have_any_name(metric: str) -> None:
    session = local_session()
    check(metric, "spark", session.createDataFrame, [*NAMES, *ODD, *CASES])


@pytest.mark.parametrize("by", ["coupon_state", "fetched_at", "confirm_time", "brand_id"])
@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric != "holdout_lift"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_group_may_be_what_the_metric_reads_itself(engine: str, metric: str, by: str) -> None:
    convert, _ = ENGINES[engine]
    frame = table_of("user_coupons", USER_COUPONS)
    if by == "coupon_state" and metric.startswith("state_breakdown"):
        with pytest.raises(ValidationError, match="coupon_state is given twice or is a column of the result"):
            METRICS[metric](convert(frame), by=by)
        return
    expected = [
        list(row.values()) for row in rows(METRICS[metric](frame.append_column("plain", frame[by]), by="plain"))
    ]
    assert [list(row.values()) for row in rows(METRICS[metric](convert(frame), by=by))] == expected


@pytest.mark.parametrize("dtype", ["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32"])
@pytest.mark.parametrize("metric", METRICS)
def test_in_pandas_a_null_group_leaves_the_others_their_dtype(metric: str, dtype: str) -> None:
    """Where a null made a float of them, two members of 64 bits became one number."""
    frame = RESULT.assign(openid=RESULT["openid"].astype("string")) if metric == "holdout_lift" else USER_COUPONS
    most = 16_777_216.0 if dtype == "Float32" else np.iinfo(dtype.lower()).max
    members = pd.Series(([most, most - 1, None] * len(frame))[: len(frame)], dtype=dtype, index=frame.index)
    found = METRICS[metric](frame.assign(member=members), by="member")["member"]
    assert found.dtype == dtype
    assert found.drop_duplicates().tolist() == [most - 1, most, pd.NA]


@pytest.mark.parametrize("metric", METRICS)
def test_a_group_that_is_null_throughout_is_one_group_whatever_dtype_it_has_not(metric: str) -> None:
    frame = RESULT if metric == "holdout_lift" else USER_COUPONS
    typed, untyped = (
        frame.assign(channel=pd.Series([None] * len(frame), dtype=dtype, index=frame.index))
        for dtype in ("string", object)
    )
    assert rows(METRICS[metric](untyped, by="channel")) == rows(METRICS[metric](typed, by="channel"))
    if metric != "holdout_lift":
        nobody = to_pandas_of_numpy(table_of("user_coupons", frame.head(0)))
        assert rows(METRICS[metric](nobody, by="openid")) == []


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("engine", ENGINES)
def test_only_a_result_that_would_have_two_columns_of_one_name_is_refused(engine: str, metric: str) -> None:
    ask, (convert, _) = METRICS[metric], ENGINES[engine]
    with pytest.raises(ValidationError, match="as_of is given twice or is a column of the result"):
        ask(convert(table(metric, ["as_of"])), by="as_of")
    with pytest.raises(ValidationError, match="plain is given twice"):
        ask(convert(table(metric, [])), by=["plain", "plain"])
    frame = convert(table(metric, ["As_Of"]))
    if engine in MINDS_NO_CASE:
        with pytest.raises(ValidationError, match="As_Of is given twice or is a column of the result"):
            ask(frame, by="As_Of")
    else:
        assert next(iter(rows(ask(frame, by="As_Of"))[0])) == "As_Of"
