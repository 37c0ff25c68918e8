"""The tables of a weekly report: metrics of what was read, and what `numbers` adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

import narwhals as nw
import pandas as pd

from wxcoupon_analytics.entities.schemas import frame_from_rows
from wxcoupon_analytics.metrics import (
    budget_use,
    confirming_age,
    coupon_funnel,
    coverage,
    daily_sends,
    exhaustion_forecast,
    pace,
    quota_days,
    redemption_curve,
    redemption_rate,
    state_breakdown,
    state_changes,
)
from wxcoupon_analytics.metrics.engines import collect, give_back
from wxcoupon_analytics.report.numbers import (
    STOCK,
    change,
    cohort_shares,
    deletions_by_stock,
    frame,
    overall_coverage,
    redeemed_value,
    rows_of,
    stuck_by_stock,
    used_in,
    week_limits,
    week_sends,
)
from wxcoupon_analytics.report.readings import ENTITIES, Readings
from wxcoupon_analytics.report.weeks import Week

Tables = dict[str, pd.DataFrame]

SOON: Final = timedelta(days=14)  # a stock that runs out within it needs somebody
STUCK: Final = timedelta(hours=24)  # a coupon is normally confirmed within seconds
STALE: Final = timedelta(hours=36)  # a day's snapshot, and half a day's grace
COHORTS: Final = 6  # weeks of receipt that are shown


def tables_of(found: Readings) -> Tables:
    """Work out every table of a report; one about coupons is empty where no coupon is known."""
    budget = budget_use(found.stocks, found.product_coupons)
    names = budget[[*STOCK, "name", "remark"]]
    sends = daily_sends(found.stock_history)
    this_week, week_before = week_sends(sends, found.week), week_sends(sends, found.week.before)
    forecast = exhaustion_forecast(found.stock_history, now=found.closing)
    tables: Tables = {
        "sends": _sends(this_week, week_before, budget),
        "forecast": _forecast(forecast, found.stock_history, names),
        "limits": _limits(found, budget, names),
        **_about_coupons(found, budget, names),
        "daily_sends": _named(_within(sends, found.week), names),
        "completeness": _completeness(found),
        "freshness": _freshness(found),
    }
    tables["anomalies"] = _anomalies(found, tables, names)
    tables["headlines"] = _headlines(found, tables)
    return tables


def cohorts_shown(found: Readings) -> Any:
    """Keep the coupons of the last cohorts up to the week's, so that their lines can be told apart."""
    coupons = found.coupons
    until = coupons.filter(f"cohort <= '{found.week.name}'")  # ISO weeks sort as texts do
    last = until.aggregate("cohort").order("cohort DESC").limit(COHORTS).fetchall()
    listed = ", ".join(f"'{cohort}'" for (cohort,) in last)
    return coupons.filter(f"cohort IN ({listed})" if listed else "false")


def _here(result: Any) -> pd.DataFrame:
    """Bring a metric's result to pandas, in the dtypes that metrics give there."""
    opened = nw.from_native(result)
    brought: pd.DataFrame = give_back(collect(opened, opened.collect_schema().names()), pd.DataFrame())
    return brought


def _named(table: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Put what stocks are called beside their ids."""
    joined = table.merge(names, on=STOCK, how="left")
    return joined[[*STOCK, "name", "remark", *(name for name in table.columns if name not in STOCK)]]


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


def _limits(found: Readings, budget: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Leave out stocks whose limit was left unused because they could not send: stopped, or all gone before."""
    limits = week_limits(quota_days(found.stock_history), found.week)
    can_send = budget["state"].eq("SENDING").fillna(False) & budget["remaining_count"].gt(0).fillna(True)
    idle = limits["used_share"].fillna(0) == 0
    able = limits.merge(budget.loc[can_send, STOCK], on=STOCK, how="left", indicator=True)["_merge"].eq("both")
    kept = limits[~idle | able.to_numpy()]
    return _named(kept.sort_values(["days_hit", "used_share"], ascending=False, kind="stable", ignore_index=True), names)


def _forecast(forecast: pd.DataFrame, history: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Put the pace beside the forecast, the soonest first, then those still sending."""
    speed = pace(history).drop_duplicates(STOCK, keep="last")[[*STOCK, "pace"]]
    joined = _named(forecast.merge(speed, on=STOCK, how="left"), names)
    is_sending = joined["state"].eq("SENDING").fillna(False)
    far = date.max
    order = joined.assign(when=[far if pd.isna(day) else day for day in joined["expected_date"]], halted=~is_sending)
    return joined.loc[order.sort_values(["when", "halted", *STOCK]).index].reset_index(drop=True)


def _about_coupons(found: Readings, budget: pd.DataFrame, names: pd.DataFrame) -> Tables:
    """Work out what user coupons say; of a store without any, the same tables without rows."""
    has_coupons = found.coupons is not None
    nobody = frame_from_rows("user_coupons", []).assign(cohort=pd.Series(dtype="string"))
    coupons = found.coupons if has_coupons else nobody
    before = found.coupons_before if found.coupons_before is not None else nobody
    rates = _here(redemption_rate(coupons, by=STOCK))
    used = [used_in(coupons, week) if has_coupons else rates[:0] for week in (found.week, found.week.before)]
    known = _here(coverage(coupons, found.stocks))
    cohorts = cohorts_shown(found) if has_coupons else nobody
    changes = state_changes(found.coupon_history)
    waiting = _here(coupons.filter("coupon_state = 'CONFIRMING'")) if has_coupons else nobody
    stuck = stuck_by_stock(confirming_age(waiting, now=found.closing), longer_than=STUCK)
    deleted = deletions_by_stock(
        changes, since=found.closing_before - timedelta(days=7), before=found.closing_before, until=found.closing
    )
    tables = {
        "rates": _rates(coupons, before, known, found) if has_coupons else _rate_frame([]),
        "states": _states(coupons, before if found.coupons_before is not None else None)[: None if has_coupons else 0],
        "redemption": _redemption(known, rates, names)[: None if has_coupons else 0],
        "redeemed_value": redeemed_value(*used, rates, budget),
        "cohorts": cohort_shares(
            _here(redemption_curve(cohorts, by="cohort")), _here(coupon_funnel(cohorts, by="cohort"))
        ),
        "confirming": _named(stuck, names),
        "deletions": _named(deleted, names),
    }
    return tables


def _rates(coupons: Any, before: Any, known: pd.DataFrame, found: Readings) -> pd.DataFrame:
    """Hold the shares over all coupons known against those of a week ago, in points."""
    now, then = (_here(redemption_rate(frame_)).iloc[0] for frame_ in (coupons, before))
    known_before = _here(coverage(before, found.stocks_before)) if len(found.stocks_before) else known[:0]
    shares: Mapping[str, tuple[Any, Any]] = {
        "coverage": (overall_coverage(known), overall_coverage(known_before) if found.coupons_before is not None else None),
        **{name: tuple(None if pd.isna(row[name]) else row[name] for row in (now, then)) for name in _RATES},
    }
    return _rate_frame([(name, *pair, change(*pair)[0]) for name, pair in shares.items()])


_RATES: Final = ("redemption_rate", "matured_rate")


def _rate_frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    return frame(rows, measure="text", rate="share", previous_rate="share", change_points="share")


def _states(coupons: Any, before: Any) -> pd.DataFrame:
    """Hold the states of the coupons known against those of a week ago."""
    earlier = {} if before is None else dict(rows_of(_here(state_breakdown(before)), "coupon_state", "count"))
    rows = [
        (state, count, share, None if before is None else earlier.get(state, 0), as_of)
        for state, count, share, as_of in rows_of(
            _here(state_breakdown(coupons)), "coupon_state", "count", "share", "as_of"
        )
    ]
    return frame(
        ((*row[:4], *change(row[1], row[3]), row[4]) for row in rows),
        coupon_state="text",
        count="count",
        share="share",
        previous_count="count",
        change="count",
        change_share="share",
        as_of="time",
    )


def _redemption(known: pd.DataFrame, rates: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Put how many of its coupons are known beside each stock's rates; a stock of which none is known has none."""
    known = known.drop(columns="as_of")
    joined = _named(known.merge(rates.drop(columns="product_coupon_id"), on="stock_id", how="left"), names)
    return joined.sort_values(["known_count", "stock_id"], ascending=[False, True], ignore_index=True)


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
    rows = []
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


def _anomalies(found: Readings, tables: Tables, names: pd.DataFrame) -> pd.DataFrame:
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
        for *key, day, sends, limit in rows_of(
            quota_days(found.stock_history), *STOCK, "day", "sends", "max_count_per_day"
        )
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
        odd, anomaly="text", product_coupon_id="text", stock_id="text", day="day", observed_count="count", expected_count="count"
    )
    return listed.merge(names, on=STOCK, how="left")[
        ["anomaly", *STOCK, "name", "remark", "day", "observed_count", "expected_count"]
    ]


def _headlines(found: Readings, tables: Tables) -> pd.DataFrame:
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
    if found.coupons is not None:
        before = int(value["previous_used_count"].sum()) if found.is_over else None
        rows.append(("used", int(value["used_count"].sum()), before, False))
    soon = tables["forecast"]["expected_date"]
    ends = (found.closing + SOON).date()
    rows += [
        ("running_out", sum(day <= ends for day in soon.dropna()), None, False),
        ("days_hit", int(tables["limits"]["days_hit"].sum()), _days_hit_before(found), False),
    ]
    if found.coupons is not None:
        deleted = tables["deletions"]
        rows += [
            ("stuck", int(tables["confirming"]["stuck_count"].sum()), None, False),
            (
                "deleted",
                int(deleted["deleted_count"].sum()),
                int(deleted["previous_deleted_count"].sum()) if found.coupons_before is not None else None,
                False,
            ),
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


def _days_hit_before(found: Readings) -> int | None:
    limits = week_limits(quota_days(found.stock_history), found.week.before)
    return int(limits["days_hit"].sum()) if found.is_over and len(limits) else None
