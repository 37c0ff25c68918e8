"""The tables of a weekly report that rest on user coupons, of which only some are known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import duckdb
import narwhals as nw
import pandas as pd

from wxcoupon_analytics.metrics import (
    confirming_age,
    coupon_funnel,
    coverage,
    redemption_curve,
    redemption_rate,
    state_breakdown,
    state_changes,
)
from wxcoupon_analytics.metrics.engines import collect, give_back
from wxcoupon_analytics.report.coupon_numbers import (
    cohort_shares,
    deletions_by_stock,
    overall_coverage,
    redeemed_value,
    stuck_by_stock,
    told_after,
    unread_after,
    used_in,
)
from wxcoupon_analytics.report.numbers import Tables, change, frame, named, rows_of
from wxcoupon_analytics.report.readings import Readings
from wxcoupon_analytics.report.weeks import Week

STUCK: Final = timedelta(hours=24)  # a coupon is normally confirmed within seconds
COHORTS: Final = 6  # weeks of receipt that are shown
_RATES: Final = ("redemption_rate", "matured_rate")


def coupon_tables(found: Readings, budget: pd.DataFrame, names: pd.DataFrame) -> Tables:
    """Work out what user coupons say; of a store that knows none, the same tables without rows."""
    coupons, cohorts = found.coupons, cohorts_shown(found)
    known, rates = _here(coverage(coupons, found.stocks)), _here(redemption_rate(coupons, by="stock_id"))
    unread = _unread(found)
    tables = {
        "rates": _rates(found, known),
        "states": _states(found),
        "redemption": _redemption(known, rates, names, unread),
        "redeemed_value": _redeemed_value(found, unread, rates, budget),
        "cohorts": cohort_shares(
            _here(redemption_curve(cohorts, by="cohort")), _here(coupon_funnel(cohorts, by="cohort"))
        ),
        "confirming": named(_stuck(found), names),
        "deletions": named(_deletions(found), names),
    }
    return tables if found.knows_coupons else {name: table[:0] for name, table in tables.items()}


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


def _rates(found: Readings, known: pd.DataFrame) -> pd.DataFrame:
    """Hold the shares over all coupons known against those of a week ago, in points."""
    now, then = (_here(redemption_rate(coupons)) for coupons in (found.coupons, found.coupons_before))
    covered: float | None = None
    if found.knew_coupons and len(found.stocks_before):
        covered = overall_coverage(_here(coverage(found.coupons_before, found.stocks_before)))
    shares: Mapping[str, tuple[float | None, float | None]] = {
        "coverage": (overall_coverage(known), covered),
        **{name: (rows_of(now, name)[0][0], rows_of(then, name)[0][0]) for name in _RATES},
    }
    return frame(
        ((name, *pair, change(*pair)[0]) for name, pair in shares.items()),
        measure="text",
        rate="share",
        previous_rate="share",
        change_points="share",
    )


def _states(found: Readings) -> pd.DataFrame:
    """Hold the states of the coupons known against those of a week ago."""
    now, then = (_here(state_breakdown(coupons)) for coupons in (found.coupons, found.coupons_before))
    earlier = dict(rows_of(then, "coupon_state", "count"))
    rows = []
    for state, count, share, as_of in rows_of(now, "coupon_state", "count", "share", "as_of"):
        before = earlier.get(state, 0) if found.knew_coupons else None
        rows.append((state, count, share, before, *change(count, before), as_of))
    return frame(
        rows,
        coupon_state="text",
        count="count",
        share="share",
        previous_count="count",
        change="count",
        change_share="share",
        as_of="time",
    )


def _redeemed_value(found: Readings, unread: pd.DataFrame, rates: pd.DataFrame, budget: pd.DataFrame) -> pd.DataFrame:
    """Value the uses of both weeks; what is certain of one says nothing beside the other unless both are exact."""
    value = redeemed_value(_used(found, found.week), _used(found, found.week.before), rates, budget)
    if not found.is_over or len(unread):
        value.loc[:, "change_share"] = pd.NA
    return value


def _used(found: Readings, week: Week) -> pd.DataFrame:
    """Count the uses of a week that no return can have undone since; of a week that runs, those read so far."""
    return used_in(told_after(found.coupons, week) if found.is_over else found.coupons, week)


def _unread(found: Readings) -> pd.DataFrame:
    """Count, of both weeks, the coupons that may have been used after they were last read; of a week that runs nobody can."""
    if not found.is_over:
        return frame([], stock_id="text", unread_count="count", previous_unread_count="count")
    now, before = (unread_after(found.coupons, week) for week in (found.week, found.week.before))
    joined = now.merge(before.rename(columns={"unread_count": "previous_unread_count"}), on="stock_id", how="outer")
    return joined.fillna({"unread_count": 0, "previous_unread_count": 0})


def _redemption(known: pd.DataFrame, rates: pd.DataFrame, names: pd.DataFrame, unread: pd.DataFrame) -> pd.DataFrame:
    """Put how many of its coupons are known beside each stock's rates; a stock of which none is known has none."""
    of_stocks = known.drop(columns="as_of").merge(rates, on="stock_id", how="left")
    joined = named(of_stocks.merge(unread, on="stock_id", how="left"), names)
    return joined.sort_values(["known_count", "stock_id"], ascending=[False, True], ignore_index=True)


def _stuck(found: Readings) -> pd.DataFrame:
    """Find what waits for a confirmation; only that comes here, as pandas has a duration that DuckDB lacks."""
    waiting = _here(found.coupons.filter("coupon_state = 'CONFIRMING'"))
    last_read = max(waiting["fetched_at"], default=found.closing)
    return stuck_by_stock(confirming_age(waiting, now=last_read), longer_than=STUCK)


def _deletions(found: Readings) -> pd.DataFrame:
    """Count what was found deleted this week and, if coupons were known at its beginning, the week before."""
    unread = unread_after(found.coupons, found.week) if found.is_over and found.knew_at_opening else None
    return deletions_by_stock(
        _found_deleted(found),
        found.week,
        opening=found.opening,
        since=found.closing_before - timedelta(days=7) if found.knew_deletions else None,
        unread=unread,
    )


def _found_deleted(found: Readings) -> pd.DataFrame:
    """List the coupons found deleted, and after when each was: its last reading before, or its receipt if there was none.

    A coupon that came and went between two fetches shows no change of its state, and is as deleted as the others.
    """
    key, columns = ["stock_id", "coupon_code"], ["product_coupon_id", "from_state", "changed_after", "as_of"]
    changes = state_changes(found.coupon_history)
    told = found.coupon_history.dropna(subset=[*key, "coupon_state"]).sort_values("fetched_at", kind="stable")
    first = told.drop_duplicates(key)
    is_recent = first["fetched_at"] > found.closing_before - timedelta(days=7)
    came_and_went = (
        first[is_recent & (first["coupon_state"] == "DELETED")]
        .rename(columns={"receive_time": "changed_after", "fetched_at": "as_of"})
        .assign(from_state=pd.Series(dtype="string"))
    )
    listed = pd.concat([part[[*key, *columns]] for part in (changes[changes["is_silent"]], came_and_went)])
    # A history tells of changes only: that a coupon was read again, and was the same, the current state knows.
    codes = (duckdb.ConstantExpression(code) for code in listed["coupon_code"])
    of_found = duckdb.ColumnExpression("coupon_code").isin(*codes) if len(listed) else "false"
    alive = found.coupons_opening.filter(of_found).filter("coupon_state <> 'DELETED'")
    read = frame(
        alive.project("stock_id, coupon_code, fetched_at").fetchall(),
        stock_id="text",
        coupon_code="text",
        read_at="time",
    )
    joined = listed.merge(read, on=key, how="left")
    return joined.assign(changed_after=joined[["changed_after", "read_at"]].max(axis=1))
