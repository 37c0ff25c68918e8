"""Which states the coupons were in, day by day."""

from __future__ import annotations

from collections import Counter
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrameT

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.coupons import open_coupons
from wxcoupon_analytics.metrics.engines import collect, give_back
from wxcoupon_analytics.metrics.states import LIFECYCLE, latest_coupons

_COLUMNS = {
    "day": nw.Date(),
    "coupon_state": nw.String(),
    "count": nw.Int64(),
    "share": nw.Float64(),
    "as_of": nw.Datetime("us", "Asia/Shanghai"),
}


def state_history(user_coupon_history: IntoFrameT) -> IntoFrameT:
    """Count the coupons in each state as they were known at the end of every Beijing day with a reading.

    Parameters
    ----------
    user_coupon_history : frame
        User coupons as they were read time after time, in any order; of an unchanged coupon one reading is enough:
        ``store.history("user_coupons")``. pandas, Polars (eager or lazy), PyArrow, DuckDB or PySpark; a lazy frame is
        aggregated by its own engine.

    Returns
    -------
    frame
        Of the kind of ``user_coupon_history``, long form, sorted by day, then by state.

        ============ ======================== ==================================================================
        column       dtype, unit              meaning
        ============ ======================== ==================================================================
        day          date, Beijing            a day on which any coupon was read (of a store's history: changed)
        coupon_state string                   as in :func:`state_breakdown`; every day has a row for each of them
        count        Int64, coupons           whose last reading up to the end of ``day`` shows this state
        share        Float64, 0–1             of the coupons known by then
        as_of        datetime, Asia/Shanghai  the latest ``fetched_at`` up to the end of ``day``
        ============ ======================== ==================================================================

    Raises
    ------
    ValidationError
        A column is missing, ids are floats, ``fetched_at`` is not timezone-aware, or ``fetched_day`` is no date.

    Notes
    -----
    A coupon enters on the day it was first read, so growth is of what we know, not only of what was sent. Rows without
    stock_id, coupon_code or a day cannot be followed and are left out. The last day equals ``state_breakdown`` of the same
    history.

    Examples
    --------
    >>> import pandas as pd
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics.timeline import state_history
    >>> history = pd.concat(
    ...     flatten("user_coupons", {"coupon_code": code, "coupon_state": state, "stock": {"stock_id": "1"}},
    ...         fetched_at=pd.Timestamp(2026, 11, day, tz="Asia/Shanghai"))
    ...     for day, code, state in ((1, "A", "EFFECTIVE"), (1, "B", "EFFECTIVE"), (3, "B", "USED")))
    >>> state_history(history).query("count > 0")[["day", "coupon_state", "count"]].astype(str).values.tolist()
    [['2026-11-01', 'EFFECTIVE', '2'], ['2026-11-03', 'EFFECTIVE', '1'], ['2026-11-03', 'USED', '1']]
    """
    frame, key = open_coupons(user_coupon_history, ["fetched_day"])
    if (dtype := frame.collect_schema()["fetched_day"]) not in {nw.Date, nw.Unknown}:  # unknown: null throughout
        raise ValidationError(
            f"fetched_day of the user_coupons frame is {dtype}, not a date: make it one from fetched_at, in pandas with "
            "frame['fetched_at'].dt.tz_convert('Asia/Shanghai').dt.date"
        )
    followed = frame.filter(~nw.any_horizontal(*(nw.col(name).is_null() for name in _MUST), ignore_nulls=False))
    daily = latest_coupons(followed, [*key, "fetched_day"], [*key, "fetched_day"])
    # What a coupon leaves is told from having been nowhere: an unknown state is a state here.
    known = daily.with_columns(now=nw.col("coupon_state").fill_null(""))
    moves = known.with_columns(before=nw.col("now").shift(1).over(*key, order_by="fetched_day"))
    counted = collect(
        moves.group_by("fetched_day", "now", "before").agg(nw.len().alias("count"), as_of=nw.col("fetched_at").max()),
        ["fetched_day", "now", "before", "count", "as_of"],
    ).sort("fetched_day")
    rows = _add_up(list(counted.iter_rows(named=True)))
    result = nw.from_dict({name: [row[name] for row in rows] for name in _COLUMNS}, _COLUMNS, backend="pyarrow")
    back: IntoFrameT = give_back(result, user_coupon_history)
    return back


_MUST = ("stock_id", "coupon_code", "fetched_day", "fetched_at")


def _add_up(moves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Carry the counts from day to day, given how many coupons went from which state to which."""
    found = {row["now"] for row in moves}
    states = [*LIFECYCLE, *sorted(found - {*LIFECYCLE, ""}), *({""} & found)]
    counts: Counter[str] = Counter()
    by_day: dict[Any, list[dict[str, Any]]] = {}
    for row in moves:
        by_day.setdefault(row["fetched_day"], []).append(row)
    rows, as_of = [], None
    for day, moved in by_day.items():
        for row in moved:
            counts[row["now"]] += row["count"]
            if row["before"] is not None:
                counts[row["before"]] -= row["count"]
            as_of = max(as_of or row["as_of"], row["as_of"])
        total = counts.total()
        rows += [
            {
                "day": day,
                "coupon_state": state or None,
                "count": counts[state],
                "share": counts[state] / total,
                "as_of": as_of,
            }
            for state in states
        ]
    return rows
