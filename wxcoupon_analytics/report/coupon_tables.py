"""The tables of a weekly report that rest on user coupons, of which only some are known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

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
from wxcoupon_analytics.report.numbers import (
    Tables,
    change,
    cohort_shares,
    deletions_by_stock,
    frame,
    named,
    overall_coverage,
    redeemed_value,
    rows_of,
    stuck_by_stock,
    used_in,
)
from wxcoupon_analytics.report.readings import Readings

STUCK: Final = timedelta(hours=24)  # a coupon is normally confirmed within seconds
COHORTS: Final = 6  # weeks of receipt that are shown
_RATES: Final = ("redemption_rate", "matured_rate")


def coupon_tables(found: Readings, budget: pd.DataFrame, names: pd.DataFrame) -> Tables:
    """Work out what user coupons say; of a store that knows none, the same tables without rows."""
    coupons, cohorts = found.coupons, cohorts_shown(found)
    known, rates = _here(coverage(coupons, found.stocks)), _here(redemption_rate(coupons, by="stock_id"))
    tables = {
        "rates": _rates(found, known),
        "states": _states(found),
        "redemption": _redemption(known, rates, names),
        "redeemed_value": redeemed_value(
            used_in(coupons, found.week), used_in(coupons, found.week.before), rates, budget
        ),
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


def _redemption(known: pd.DataFrame, rates: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Put how many of its coupons are known beside each stock's rates; a stock of which none is known has none."""
    joined = named(known.drop(columns="as_of").merge(rates, on="stock_id", how="left"), names)
    return joined.sort_values(["known_count", "stock_id"], ascending=[False, True], ignore_index=True)


def _stuck(found: Readings) -> pd.DataFrame:
    """Find what waits for a confirmation; only that comes here, as pandas has a duration that DuckDB lacks."""
    waiting = _here(found.coupons.filter("coupon_state = 'CONFIRMING'"))
    at = max([found.closing, *waiting["fetched_at"]])  # a fetch that goes over midnight is read to its end
    return stuck_by_stock(confirming_age(waiting, now=at), longer_than=STUCK)


def _deletions(found: Readings) -> pd.DataFrame:
    """Count what was found deleted this week and, if coupons were known at its beginning, the week before."""
    return deletions_by_stock(
        state_changes(found.coupon_history),
        since=found.closing_before - timedelta(days=7) if found.knew_deletions else None,
        before=found.opening,
        until=found.closing,
    )
