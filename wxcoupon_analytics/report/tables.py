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
    Limits,
    Tables,
    change,
    change_between,
    day_limits,
    frame,
    named,
    rows_of,
    week_limits,
    week_sends,
)
from wxcoupon_analytics.report.readings import ENTITIES, Readings
from wxcoupon_analytics.report.weeks import Week

SOON: Final = timedelta(days=14)  # a stock that runs out within it needs somebody
ENDED: Final = ("STOPPED", "DEACTIVATED")  # states in which a stock sends nothing any more, for good
STALE: Final = timedelta(hours=36)  # a day's snapshot, and half a day's grace


def tables_of(found: Readings) -> Tables:
    """Work out every table of a report; one about coupons is empty where no coupon is known."""
    budget = budget_use(found.stocks, found.product_coupons)
    names = budget[[*STOCK, "name", "remark"]]
    sends, quota = daily_sends(found.stock_history), quota_days(found.stock_history)
    ended = set(found.stocks.loc[found.stocks["state"].isin(ENDED), "stock_id"])
    this_week, week_before = (week_sends(sends, week, ended=ended) for week in (found.week, found.week.before))
    by_day = day_limits(found.stock_history)
    limits, limits_before = (
        week_limits(quota, sends, by_day, week, ended=ended) for week in (found.week, found.week.before)
    )
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
    tables["anomalies"] = _anomalies(found, tables, quota, by_day, names)
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
    """Leave out stocks that certainly left their limit unused because they could not send: stopped, or all gone before."""
    can_send = budget["state"].eq("SENDING").fillna(False) & budget["remaining_count"].gt(0).fillna(True)
    idle = (limits["used_share"].fillna(0) == 0) & limits["days_hit_at_most"].notna()
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


def _anomalies(
    found: Readings, tables: Tables, quota: pd.DataFrame, by_day: Limits, names: pd.DataFrame
) -> pd.DataFrame:
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
    for *key, day, sends in rows_of(quota, *STOCK, "day", "sends"):
        told = [*by_day[*key][day], by_day[*key][day + timedelta(days=1)][0]]
        limits = [limit for limit in told if limit is not None]
        # Where it had none at one of the readings, nobody knows at which hours it had one.
        if day in found.week.days and len(limits) == len(told) and sends > max(limits):
            odd.append(("over_daily_limit", *key, day, sends, max(limits)))
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
    rows: list[tuple[Any, ...]] = [
        ("sends", *_bounds(tables["sends"], "sends_at_least"), *_sends_before(found, tables["sends"]))
    ]
    if found.knows_coupons:
        rows.append(("used", *_used(found, tables)))
    soon = tables["forecast"]["expected_date"].dropna()
    running_out = sum(day <= (found.closing + SOON).date() for day in soon)
    rows.append(("running_out", running_out, running_out, None, None))
    hit_before, hit_before_at_most = _bounds(limits_before, "days_hit")
    is_told = found.is_over and len(limits_before) and hit_before == hit_before_at_most
    rows.append(("days_hit", *_bounds(limits, "days_hit"), *([hit_before] * 2 if is_told else [None] * 2)))
    if found.knows_coupons:
        stuck = int(tables["confirming"]["stuck_count"].sum())
        rows += [("stuck", stuck, stuck, None, None), ("deleted", *_deleted(found, tables))]
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


# The least and the most that a count can be; no most: nothing bounds it; no least: it is not known.
_Bounds = tuple[int | None, int | None]
_NOT_KNOWN: Final[_Bounds] = (None, None)


def _bounds(table: pd.DataFrame, least: str) -> tuple[int, int | None]:
    """Add up the bounds of all stocks: there is no upper one where a stock has none."""
    most = table[f"{least.removesuffix('_at_least')}_at_most"].sum(skipna=False)
    return int(table[least].sum()), None if pd.isna(most) else int(most)


def _sends_before(found: Readings, sends: pd.DataFrame) -> _Bounds:
    """Say what the week before sent; without an upper bound, the lower one would compare with nothing."""
    before = _bounds(sends, "previous_sends_at_least")
    return before if found.is_over and before[1] is not None else _NOT_KNOWN


def _used(found: Readings, tables: Tables) -> tuple[int | None, ...]:
    """Count the coupons used in both weeks, at most with those that may have been used after they were last read."""
    value, unread = tables["redeemed_value"], tables["redemption"]
    used, before = int(value["used_count"].sum()), int(value["previous_used_count"].sum())
    if not found.is_over:
        return used, None, *_NOT_KNOWN
    more, more_before = (int(unread[name].sum()) for name in ("unread_count", "previous_unread_count"))
    return used, used + more, before, before + more_before


def _deleted(found: Readings, tables: Tables) -> tuple[int | None, ...]:
    """Count the coupons found deleted, as far as this week and the one before can be asked for them."""
    of_stocks, unread = tables["deletions"], tables["redemption"]
    if not found.knows_deletions:
        return *_NOT_KNOWN, *_NOT_KNOWN
    least, most = _bounds(of_stocks, "deleted_count")
    if not (found.is_over and found.knew_at_opening):
        most = None
    elif most is not None:
        most += int(unread.loc[~unread["stock_id"].isin(of_stocks["stock_id"]), "unread_count"].sum())
    before = of_stocks["previous_deleted_count"]
    is_told = found.knew_deletions and before.notna().all() and not unread["previous_unread_count"].sum()
    return least, most, *([int(before.sum())] * 2 if is_told else _NOT_KNOWN)


def _changes(
    value: int | None, most: int | None, before: int | None, most_before: int | None
) -> tuple[float | None, float | None, float | None]:
    """Hold a count against the one before: the difference, of exact ones only, and the bounds of the relative change."""
    is_exact = (value, before) == (most, most_before)
    return change(value, before)[0] if is_exact else None, *change_between(value, most, before, most_before)
