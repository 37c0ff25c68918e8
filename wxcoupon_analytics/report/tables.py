"""The tables of a weekly report: metrics of what was read, and what `numbers` adds to them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Final

import pandas as pd

from wxcoupon_analytics.metrics import (
    budget_use,
    daily_sends,
    exhaustion_forecast,
    pace,
    quota_days,
)
from wxcoupon_analytics.report.coupon_tables import coupon_tables
from wxcoupon_analytics.report.numbers import (
    STOCK,
    Tables,
    change,
    frame,
    named,
    rows_of,
    week_limits,
    week_sends,
)
from wxcoupon_analytics.report.readings import ENTITIES, Readings
from wxcoupon_analytics.report.weeks import Week

SOON: Final = timedelta(days=14)  # a stock that runs out within it needs somebody
STALE: Final = timedelta(hours=36)  # a day's snapshot, and half a day's grace


def tables_of(found: Readings) -> Tables:
    """Work out every table of a report; one about coupons is empty where no coupon is known."""
    budget = budget_use(found.stocks, found.product_coupons)
    names = budget[[*STOCK, "name", "remark"]]
    sends, quota = daily_sends(found.stock_history), quota_days(found.stock_history)
    this_week, week_before = week_sends(sends, found.week), week_sends(sends, found.week.before)
    limits, limits_before = week_limits(quota, found.week), week_limits(quota, found.week.before)
    forecast = exhaustion_forecast(found.stock_history, now=found.closing)
    tables: Tables = {
        "sends": _sends(this_week, week_before, budget),
        "forecast": _forecast(forecast, found.stock_history, names),
        "limits": _limits(limits, budget, names),
        **coupon_tables(found, budget, names),
        "daily_sends": named(_within(sends, found.week), names),
        "completeness": _completeness(found),
        "freshness": _freshness(found),
    }
    tables["anomalies"] = _anomalies(found, tables, quota, names)
    tables["headlines"] = _headlines(found, tables, limits, limits_before)
    return tables


def _sends(week: pd.DataFrame, before: pd.DataFrame, budget: pd.DataFrame) -> pd.DataFrame:
    """Hold each stock's sends against the week before, most first, with what is left of its budget."""
    earlier = {key: sends for *key_, sends in rows_of(before, *STOCK, "sends") for key in [tuple(key_)]}
    changes = [
        (*key, sends, at_least, earlier.get(tuple(key)), *change(sends, earlier.get(tuple(key))))
        for *key, sends, at_least in rows_of(week, *STOCK, "sends", "sends_at_least")
    ]
    held = frame(
        changes,
        product_coupon_id="text",
        stock_id="text",
        sends="count",
        sends_at_least="count",
        previous_sends="count",
        change="count",
        change_share="share",
    )
    columns = ["name", "remark", "state", "sent_count", "max_count", "remaining_count", "sent_share", "as_of"]
    joined = budget[[*STOCK, *columns]].merge(held, on=STOCK, how="left")
    ordered = joined[[*STOCK, "name", "remark", "state", *list(held.columns)[2:], *columns[3:]]]
    return ordered.sort_values(["sends_at_least", "stock_id"], ascending=[False, True], ignore_index=True)


def _within(daily_sends: pd.DataFrame, week: Week) -> pd.DataFrame:
    """Keep the intervals that touch the week."""
    touching = [
        day is not None and day <= week.days[-1] and day + timedelta(days=days - 1) >= week.monday
        for day, days in rows_of(daily_sends, "day", "days_covered")
    ]
    return daily_sends[touching]


def _limits(limits: pd.DataFrame, budget: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Leave out stocks whose limit was left unused because they could not send: stopped, or all gone before."""
    can_send = budget["state"].eq("SENDING").fillna(False) & budget["remaining_count"].gt(0).fillna(True)
    idle = limits["used_share"].fillna(0) == 0
    able = limits.merge(budget.loc[can_send, STOCK], on=STOCK, how="left", indicator=True)["_merge"].eq("both")
    kept = limits[~idle | able.to_numpy()]
    return named(kept.sort_values(["days_hit", "used_share"], ascending=False, kind="stable", ignore_index=True), names)


def _forecast(forecast: pd.DataFrame, history: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Put the pace beside the forecast, the soonest first, then those still sending."""
    speed = pace(history).drop_duplicates(STOCK, keep="last")[[*STOCK, "pace"]]
    joined = named(forecast.merge(speed, on=STOCK, how="left"), names)
    is_sending = joined["state"].eq("SENDING").fillna(False)
    far = date.max
    order = joined.assign(when=[far if pd.isna(day) else day for day in joined["expected_date"]], halted=~is_sending)
    return joined.loc[order.sort_values(["when", "halted", *STOCK]).index].reset_index(drop=True)


def _completeness(found: Readings) -> pd.DataFrame:
    """Count the snapshots of every day of the week, and of the day after, which tells how it ended."""
    days = [*found.week.days, found.week.days[-1] + timedelta(days=1)]
    taken: dict[tuple[str, date], list[bool]] = {}
    for entity, at, complete in rows_of(found.snapshots, "entity", "taken_at", "complete"):
        taken.setdefault((entity, at.date()), []).append(complete)
    rows = []
    for day in (day for day in days if day <= found.now.date()):
        of_day = [taken.get((entity, day), []) for entity in ENTITIES]
        # Another snapshot on the same day makes good for one that was cut short.
        whole = all(any(those) for those in of_day if those) if any(of_day) else None
        rows.append((day, *map(len, of_day), whole))
    return frame(rows, day="day", **dict.fromkeys(ENTITIES, "count"), is_complete="flag")


def _freshness(found: Readings) -> pd.DataFrame:
    """Say of every entity since when it is read, when last, and how old that was when the report's time ended."""
    rows: list[tuple[Any, ...]] = []
    for entity in ENTITIES:
        taken = found.snapshots.loc[found.snapshots["entity"] == entity, "taken_at"]
        if taken.empty:
            rows.append((entity, 0, None, None, None, None))
            continue
        age = found.closing - taken.max()
        rows.append((entity, len(taken), taken.min(), taken.max(), age, bool(age > STALE)))
    return frame(
        rows,
        entity="text",
        snapshots="count",
        first_taken_at="time",
        last_taken_at="time",
        age="age",
        is_stale="flag",
    )


def _anomalies(found: Readings, tables: Tables, quota: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """List what should not be: counters that went backwards, more sent than allowed, coupons that nobody can place."""
    since = found.week.start
    odd: list[tuple[Any, ...]] = [
        ("counter_backwards", *key, day, None, None)
        for *key, day, anomaly, as_of in rows_of(tables["daily_sends"], *STOCK, "day", "anomaly", "as_of")
        if anomaly and as_of >= since
    ]
    odd += [
        ("oversent", *key, None, sent, limit)
        for *key, sent, limit in rows_of(tables["sends"], *STOCK, "sent_count", "max_count")
        if sent is not None and limit is not None and sent > limit
    ]
    odd += [
        ("over_daily_limit", *key, day, sends, limit)
        for *key, day, sends, limit in rows_of(quota, *STOCK, "day", "sends", "max_count_per_day")
        if day in found.week.days and sends > limit
    ]
    odd += [
        ("more_known_than_sent", *key, None, known, sent)
        for *key, known, sent in rows_of(tables["redemption"], *STOCK, "known_count", "sent_count")
        if sent is not None and known > sent
    ]
    odd += [
        ("state_unknown", None, None, None, count, None)
        for state, count in rows_of(tables["states"], "coupon_state", "count")
        if state is None and count
    ]
    listed = frame(
        odd,
        anomaly="text",
        product_coupon_id="text",
        stock_id="text",
        day="day",
        observed_count="count",
        expected_count="count",
    )
    return listed.merge(names, on=STOCK, how="left")[
        ["anomaly", *STOCK, "name", "remark", "day", "observed_count", "expected_count"]
    ]


def _headlines(found: Readings, tables: Tables, limits: pd.DataFrame, limits_before: pd.DataFrame) -> pd.DataFrame:
    """Sum up the week in counts, each against the week before; a sum with a part not known is one of at least so many."""
    sends = tables["sends"]
    exact = not sends["sends"].isna().any()
    exact_before = found.is_over and not sends["previous_sends"].isna().any()
    rows: list[tuple[str, int, int | None, bool]] = [
        (
            "sends",
            int(sends["sends_at_least"].sum()),
            int(sends["previous_sends"].sum()) if exact_before else None,
            not exact,
        )
    ]
    value = tables["redeemed_value"]
    if found.knows_coupons:
        before = int(value["previous_used_count"].sum()) if found.is_over else None
        rows.append(("used", int(value["used_count"].sum()), before, False))
    soon = tables["forecast"]["expected_date"]
    ends = (found.closing + SOON).date()
    rows += [
        ("running_out", sum(day <= ends for day in soon.dropna()), None, False),
        (
            "days_hit",
            int(limits["days_hit"].sum()),
            int(limits_before["days_hit"].sum())
            if found.is_over and len(limits_before) and _every_day_known(limits_before)
            else None,
            not _every_day_known(limits),
        ),
    ]
    if found.knows_coupons:
        deleted, earlier = tables["deletions"]["deleted_count"], tables["deletions"]["previous_deleted_count"]
        rows += [
            ("stuck", int(tables["confirming"]["stuck_count"].sum()), None, False),
            ("deleted", int(deleted.sum()), int(earlier.sum()) if found.knew_deletions else None, False),
        ]
    return frame(
        (
            (name, value_, before, *change(None if at_least else value_, before), at_least)
            for name, value_, before, at_least in rows
        ),
        measure="text",
        value="count",
        previous_value="count",
        change="count",
        change_share="share",
        is_at_least="flag",
    )


def _every_day_known(limits: pd.DataFrame) -> bool:
    """Tell whether a day may be missing on which a limit was hit: of a week that is known in part, hits are a lower bound."""
    return bool((limits["days_known"] == 7).all())
