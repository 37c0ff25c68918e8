"""What a weekly report says that no metric says: sums over a week, and how it stands against the week before.

Each function takes a metric's result (pandas) and names its columns; everything else in a report is a metric itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

import pandas as pd

from wxcoupon_analytics.report.weeks import Week

Tables = dict[str, pd.DataFrame]

STOCK: Final = ["product_coupon_id", "stock_id"]
_LONG_BEFORE: Final = timedelta(days=366)
_DTYPES: Final = {
    "text": "string",
    "count": "Int64",
    "share": "Float64",
    "flag": "boolean",
    "day": "date32[day][pyarrow]",
    "time": "datetime64[us, Asia/Shanghai]",
    "age": "timedelta64[us]",
}


def frame(rows: Iterable[Sequence[Any]], **columns: str) -> pd.DataFrame:
    """Make a frame of rows, with its columns and dtypes also when there are none."""
    listed = list(rows)
    values = zip(*listed, strict=True) if listed else [[] for _ in columns]
    return pd.DataFrame(
        {
            name: pd.Series(list(column), dtype=_DTYPES[kind])
            for (name, kind), column in zip(columns.items(), values, strict=True)
        }
    )


def rows_of(table: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Take columns as rows of plain values, null as None."""
    chosen = table[list(columns)].astype(object)
    return [tuple(None if pd.isna(value) else value for value in row) for row in chosen.itertuples(index=False)]


def named(table: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Put what stocks are called beside their ids."""
    joined = table.merge(names, on=STOCK, how="left")
    return joined[[*STOCK, "name", "remark", *(name for name in table.columns if name not in STOCK)]]


def change(value: float | None, previous: float | None) -> tuple[float | None, float | None]:
    """Hold a number against the week before's: the difference, and that as a share of the one before.

    Null when either is not known; the share also when the one before was 0.

    Examples
    --------
    >>> from wxcoupon_analytics.report.numbers import change
    >>> change(108, 100), change(5, 0), change(5, None)
    ((8, 0.08), (5, None), (None, None))
    """
    if value is None or previous is None:
        return None, None
    difference = value - previous
    return difference, difference / previous if previous else None


def week_sends(daily_sends: pd.DataFrame, week: Week) -> pd.DataFrame:
    """Add up what each stock sent in a week.

    Parameters
    ----------
    daily_sends : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.sends.daily_sends`.
    week : Week

    Returns
    -------
    DataFrame
        One row a stock: ``product_coupon_id``, ``stock_id`` (string); ``sends`` (Int64, coupons; null when the intervals
        known do not make up the week: a gap at its edge, counters that went backwards, a day still running);
        ``sends_at_least`` (Int64, coupons: what was certainly sent in it).
    """
    found = []
    first, last = week.monday, week.days[-1]
    for key, rows in _by_stock(daily_sends, "day", "days_covered", "sends", "sends_at_least", "complete", "anomaly"):
        certain, covered = 0, 0
        for day, days, sends, at_least, complete, anomaly in _with_nothing_before(rows):
            ends = day + timedelta(days=days - 1)
            inside = (min(ends, last) - max(day, first)).days + 1
            if inside <= 0:
                continue
            is_known = complete and not anomaly
            if is_known and (inside == days or sends == 0):  # of nothing, every part is nothing
                certain, covered = certain + sends, covered + inside
            elif day >= first:
                certain += at_least
        found.append((*key, certain if covered == 7 else None, certain))
    return frame(found, product_coupon_id="text", stock_id="text", sends="count", sends_at_least="count")


def _with_nothing_before(intervals: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Take the row without a day for what it says: of a stock that had sent nothing when first read, all days before."""
    (_, _, sends, _, _, anomaly), *rows = intervals
    if sends == 0 and not anomaly and rows:
        begins = rows[0][0]
        rows.insert(0, (begins - _LONG_BEFORE, _LONG_BEFORE.days, 0, 0, True, False))
    return rows


def week_limits(quota_days: pd.DataFrame, week: Week) -> pd.DataFrame:
    """Say how much of its daily limit each stock used in a week, and on which days it was hit.

    Parameters
    ----------
    quota_days : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.pacing.quota_days`.
    week : Week

    Returns
    -------
    DataFrame
        One row a stock with a day known: ``product_coupon_id``, ``stock_id`` (string); ``max_count_per_day`` (Int64,
        coupons: the last day's); ``days_known``, ``days_hit``, ``days_idle`` (Int64, days: nothing was sent on the idle
        ones); ``hit_days`` (string: their dates); ``used_share`` (Float64, 0–1: sends by limits over the days known);
        ``unused_count`` (Int64, coupons: what the limits of those days would have allowed besides).
    """
    found = []
    for key, rows in _by_stock(quota_days, "day", "max_count_per_day", "sends", "hit"):
        days = [row for row in rows if week.monday <= row[0] <= week.days[-1]]
        if not days:
            continue
        allowed, sent = (sum(row[place] for row in days) for place in (1, 2))
        hits = [day for day, _, _, hit in days if hit]
        unused = sum(max(limit - sends, 0) for _, limit, sends, _ in days)
        idle = sum(sends == 0 for _, _, sends, _ in days)
        dates = ", ".join(f"{day:%m-%d}" for day in hits)
        share = sent / allowed if allowed else None
        found.append((*key, days[-1][1], len(days), len(hits), idle, dates or None, share, unused))
    return frame(
        found,
        product_coupon_id="text",
        stock_id="text",
        max_count_per_day="count",
        days_known="count",
        days_hit="count",
        days_idle="count",
        hit_days="text",
        used_share="share",
        unused_count="count",
    )


def used_in(coupons: Any, week: Week) -> pd.DataFrame:
    """Count the coupons used in a week, by stock: in state USED, and used within it. A use taken back is none.

    Parameters
    ----------
    coupons : DuckDB relation
        Current user coupons with ``used_at``, one row a coupon. A coupon of several uses is used with the last of them.
    week : Week

    Returns
    -------
    DataFrame
        ``stock_id`` (string), ``used_count`` (Int64, coupons); stocks without a use have no row.
    """
    within = f"used_at >= '{week.start.isoformat()}' AND used_at < '{week.end.isoformat()}'"
    counted = (
        coupons.filter(f"coupon_state = 'USED' AND {within}")
        .aggregate("stock_id, count(*) AS used_count", "stock_id")
        .order("stock_id")
    )
    return frame(counted.fetchall(), stock_id="text", used_count="count")


def redeemed_value(
    used: pd.DataFrame, used_before: pd.DataFrame, used_to_date: pd.DataFrame, budget_use: pd.DataFrame
) -> pd.DataFrame:
    """Estimate the face value of the coupons used, by the basis of their discount: never added up across bases.

    .. math:: value = \\sum_{stocks} discount \\times used

    Parameters
    ----------
    used, used_before, used_to_date : DataFrame
        ``stock_id, used_count``: used in the week, in the week before, and ever.
    budget_use : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.budget.budget_use`, for ``discount_fen`` and ``discount_basis``.

    Returns
    -------
    DataFrame
        One row a basis with a coupon used: ``discount_basis`` (string); ``used_count``, ``previous_used_count``,
        ``used_to_date_count`` (Int64, coupons); ``value_fen``, ``previous_value_fen``, ``value_to_date_fen`` (Int64,
        fen; null when the discount is not known); ``change_share`` (Float64, of the value). A fixed discount makes a
        ceiling (a user may pay less than it), one at the threshold a floor.
    """
    worth = {stock: rest for stock, *rest in rows_of(budget_use, "stock_id", "discount_fen", "discount_basis")}
    sums: dict[str, list[int | None]] = {}
    for place, counts in enumerate((used, used_before, used_to_date)):
        for stock, count in rows_of(counts, "stock_id", "used_count"):
            fen, basis = worth.get(stock, (None, "unknown"))
            if not count:
                continue
            total = sums.setdefault(basis, [0, 0, 0, *([None] * 3 if fen is None else [0] * 3)])
            total[place] = (total[place] or 0) + count
            if fen is not None:
                total[place + 3] = (total[place + 3] or 0) + fen * count
    order = ["fixed", "at_threshold", "price_difference", "unknown"]
    found = [(basis, *sums[basis], change(sums[basis][3], sums[basis][4])[1]) for basis in order if basis in sums]
    return frame(
        found,
        discount_basis="text",
        used_count="count",
        previous_used_count="count",
        used_to_date_count="count",
        value_fen="count",
        previous_value_fen="count",
        value_to_date_fen="count",
        change_share="share",
    )


COHORT_DAYS: Final = (1, 3, 7, 14, 28)


def cohort_shares(redemption_curve: pd.DataFrame, received: pd.DataFrame) -> pd.DataFrame:
    """Take from each cohort's curve the share used within so many days of receipt.

    Parameters
    ----------
    redemption_curve : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.redemption.redemption_curve`, by ``cohort``.
    received : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.funnel.coupon_funnel`, by ``cohort``.

    Returns
    -------
    DataFrame
        One row a cohort, the last received last: ``cohort`` (string, the ISO week of receipt); ``received_count``,
        ``used_count`` (Int64, coupons known); ``used_share_1d``, … ``used_share_28d`` (Float64, 0–1; null where no coupon
        of the cohort was watched that long).
    """
    curve = {(c, day): share for c, day, share in rows_of(redemption_curve, "cohort", "day", "used_share")}
    counts = {(c, stage): count for c, stage, count in rows_of(received, "cohort", "stage", "count")}
    cohorts = sorted({cohort for cohort, _ in counts if cohort is not None})
    return frame(
        (
            (c, counts[c, "received"], counts[c, "used"], *(curve.get((c, days)) for days in COHORT_DAYS))
            for c in cohorts
        ),
        cohort="text",
        received_count="count",
        used_count="count",
        **{f"used_share_{days}d": "share" for days in COHORT_DAYS},
    )


def overall_coverage(coverage: pd.DataFrame) -> float | None:
    """Say which share of all coupons sent is known: the sum of the known by the sum of the sent, over stocks that are known.

    Parameters
    ----------
    coverage : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.known.coverage`.
    """
    sums = [(known, sent) for known, sent in rows_of(coverage, "known_count", "sent_count") if sent is not None]
    sent = sum(sent for _, sent in sums)
    return sum(known for known, _ in sums) / sent if sent else None


def stuck_by_stock(confirming_age: pd.DataFrame, *, longer_than: timedelta) -> pd.DataFrame:
    """Count by stock the coupons that wait for their confirmation longer than a time.

    Parameters
    ----------
    confirming_age : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.confirming.confirming_age`.
    longer_than : timedelta

    Returns
    -------
    DataFrame
        ``product_coupon_id``, ``stock_id`` (string), ``stuck_count`` (Int64, coupons), ``longest_age`` (duration),
        ``most_burnt_share`` (Float64, 0–1: of the validity of the one that has lost most), the most first.
    """
    waiting = confirming_age[(confirming_age["age"] > longer_than).fillna(False)]
    found = []
    for key, rows in _by_stock(waiting, "age", "burnt_share"):
        burnt = [share for _, share in rows if share is not None]
        found.append((*key, len(rows), max(age for age, _ in rows), max(burnt, default=None)))
    found.sort(key=lambda row: -row[2])
    return frame(
        found,
        product_coupon_id="text",
        stock_id="text",
        stuck_count="count",
        longest_age="age",
        most_burnt_share="share",
    )


def deletions_by_stock(state_changes: pd.DataFrame, *, since: Any, before: Any, until: Any) -> pd.DataFrame:
    """Count by stock the coupons that users deleted, which no callback reports, as snapshots found them.

    Parameters
    ----------
    state_changes : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.changes.state_changes`.
    since, before, until : datetime
        Found after ``before`` and up to ``until`` is this week; after ``since`` and up to ``before`` the week before,
        which is not known when ``since`` is None.

    Returns
    -------
    DataFrame
        ``product_coupon_id``, ``stock_id`` (string); ``deleted_count``, ``previous_deleted_count``,
        ``deleted_usable_count`` (Int64, coupons; the last were EFFECTIVE, and could have been used), the most first.
    """
    silent = state_changes[state_changes["is_silent"]]
    found = []
    for key, rows in _by_stock(silent, "as_of", "from_state"):
        now = [state for at, state in rows if before < at <= until]
        then = None if since is None else sum(since < at <= before for at, _ in rows)
        if now or then:
            found.append((*key, len(now), then, now.count("EFFECTIVE")))
    found.sort(key=lambda row: -row[2])
    return frame(
        found,
        product_coupon_id="text",
        stock_id="text",
        deleted_count="count",
        previous_deleted_count="count",
        deleted_usable_count="count",
    )


def _by_stock(table: pd.DataFrame, *columns: str) -> list[tuple[tuple[Any, ...], list[tuple[Any, ...]]]]:
    """Gather rows by stock, in their order."""
    found: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for product, stock, *values in rows_of(table, *STOCK, *columns):
        found.setdefault((product, stock), []).append(tuple(values))
    return list(found.items())
