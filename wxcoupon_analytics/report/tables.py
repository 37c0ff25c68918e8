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
    change_between,
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
    earlier = before.drop(columns="why_not_exact").rename(
        columns=lambda name: name if name in STOCK else f"previous_{name}"
    )
    held = week.merge(earlier, on=STOCK, how="left")
    changes = [change(*both) for both in rows_of(held, "sends", "previous_sends")]
    held = held.join(frame(changes, change="count", change_share="share"))
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
    return daily_sends.loc[pd.Series(touching, daily_sends.index, dtype=bool)]


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
    """Sum up the week in counts, each against the week before; ``at_most`` is the count where that is exact."""
    sends = tables["sends"]
    earlier = _bounds(sends, "previous_sends") if found.is_over else (None, None)
    rows: list[tuple[str, int | None, int | None, int | None, int | None]] = [
        # Of a week before that has no upper bound, the lower one would compare with nothing.
        ("sends", *_bounds(sends, "sends"), *(earlier if earlier[1] is not None else (None, None)))
    ]
    value = tables["redeemed_value"]
    if found.knows_coupons:
        before = int(value["previous_used_count"].sum()) if found.is_over else None
        rows.append(_exact("used", int(value["used_count"].sum()), before))
    soon = tables["forecast"]["expected_date"]
    ends = (found.closing + SOON).date()
    rows.append(_exact("running_out", sum(day <= ends for day in soon.dropna())))
    hit, hit_before = int(limits["days_hit"].sum()), None
    limited = set(found.stocks.loc[found.stocks["stock_send_rule_max_count_per_day"].notna(), "stock_id"])
    is_whole = _every_day_known(limits, limited - _idle(sends, "sends"))
    was_whole = _every_day_known(limits_before, limited - _idle(sends, "previous_sends"))
    if found.is_over and len(limits_before) and was_whole:
        hit_before = int(limits_before["days_hit"].sum())
    rows.append(("days_hit", hit, hit if is_whole else None, hit_before, hit_before))
    if found.knows_coupons:
        deleted, earlier_deleted = tables["deletions"]["deleted_count"], tables["deletions"]["previous_deleted_count"]
        rows += [
            _exact("stuck", int(tables["confirming"]["stuck_count"].sum())),
            _exact(
                "deleted",
                int(deleted.sum()) if found.knows_deletions else None,
                int(earlier_deleted.sum()) if found.knew_deletions else None,
            ),
        ]
    return frame(
        ((*row, *_changes(*row[1:])) for row in rows),
        measure="text",
        value="count",
        value_at_most="count",
        previous_value="count",
        previous_value_at_most="count",
        change="count",
        change_share="share",
        change_share_at_most="share",
    )


def _bounds(sends: pd.DataFrame, column: str) -> tuple[int, int | None]:
    """Add up the bounds of all stocks: there is no upper one where a stock has none."""
    least, most = sends[f"{column}_at_least"].sum(), sends[f"{column}_at_most"].sum(skipna=False)
    return int(least), None if pd.isna(most) else int(most)


def _changes(
    value: int | None, most: int | None, before: int | None, most_before: int | None
) -> tuple[float | None, float | None, float | None]:
    """Hold a count against the one before: the difference, of exact ones only, and the bounds of the relative change."""
    is_exact = (value, before) == (most, most_before)
    return change(value, before)[0] if is_exact else None, *change_between(value, most, before, most_before)


def _exact(
    measure: str, value: int | None, before: int | None = None
) -> tuple[str, int | None, int | None, int | None, int | None]:
    """Take an exact count as a range that ends where it begins; None where it is not known."""
    return measure, value, value, before, before


def _idle(sends: pd.DataFrame, column: str) -> set[str]:
    """Name the stocks that certainly sent nothing."""
    return set(sends.loc[sends[f"{column}_at_most"].eq(0).fillna(False), "stock_id"])


def _every_day_known(limits: pd.DataFrame, may_have_hit: set[str]) -> bool:
    """Tell whether no day is missing on which a limit may have been hit; where one is, the hits known are a lower bound.

    ``limits`` has no row of a stock of which no day is known, so those that may have hit theirs are named besides.
    """
    whole = set(limits.loc[limits["days_known"] == 7, "stock_id"])
    return may_have_hit | set(limits["stock_id"]) <= whole
