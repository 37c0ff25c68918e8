"""What a weekly report says that no metric says: sums over a week, and how it stands against the week before.

Each function takes a metric's result (pandas) and names its columns; everything else in a report is a metric itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any, Final

import pandas as pd

from wxcoupon_analytics.report.weeks import Week

Tables = dict[str, pd.DataFrame]

STOCK: Final = ["product_coupon_id", "stock_id"]
_DAY: Final = timedelta(days=1)
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


def change_between(
    at_least: float | None, at_most: float | None, least_before: float | None, most_before: float | None
) -> tuple[float | None, float | None]:
    """Hold a range against the week before's: the least and the most that the change can be, as shares of the one before.

    Null when an end is not known or the least before was 0, and when the two differ in sign: then nobody can say which way
    it went. Of exact numbers, whose ends are equal, both are the share of :func:`change`.

    Examples
    --------
    >>> from wxcoupon_analytics.report.numbers import change_between
    >>> change_between(108, 108, 100, 100), change_between(120, 130, 100, 110), change_between(95, 130, 100, 110)
    ((0.08, 0.08), (0.09090909090909091, 0.3), (None, None))
    """
    low, high = change(at_least, most_before)[1], change(at_most, least_before)[1]
    return (low, high) if low is not None and high is not None and low * high >= 0 else (None, None)


def week_sends(daily_sends: pd.DataFrame, week: Week) -> pd.DataFrame:
    """Add up what each stock sent in a week, exactly or between bounds that nothing is assumed for.

    Parameters
    ----------
    daily_sends : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.sends.daily_sends`.
    week : Week

    Returns
    -------
    DataFrame
        One row a stock:

        ================= ================ =========================================================================
        column            dtype, unit      meaning
        ================= ================ =========================================================================
        product_coupon_id string
        stock_id          string
        sends             Int64, coupons   sent in the week; null when the bounds differ
        sends_at_least    Int64, coupons   what was certainly sent in it
        sends_at_most     Int64, coupons   what can have been sent in it; null when nothing bounds it
        why_not_exact     string           ``first_read`` (some were sent before the first reading of the weeks looked at,
                                           which came after the week's Monday), ``gap_at_edge`` (an interval without
                                           readings reaches over an edge of the week), ``not_read_after`` (its last reading is of the week or
                                           earlier), ``counter_backwards``; of several the last named; null when exact
        ================= ================ =========================================================================

    Notes
    -----
    A stock's intervals follow each other without a hole: all time before its first reading's midnight, those between
    readings, and its last day, which is open. One inside the week is counted whole. One that reaches over an edge counts
    at least what was seen on its first day when that is in the week, and at most all it sent, less what was seen on its
    first day when that is before the week. An open day and counters that went backwards have no upper bound.
    """
    found = []
    first, last = week.monday, week.days[-1]
    for key, rows in _by_stock(daily_sends, "day", "days_covered", "sends", "sends_at_least", "complete", "anomaly"):
        least = 0
        most: int | None = 0
        reasons: list[str] = []
        for begins, ends, sends, seen, reason in _intervals(rows):
            if begins > last or ends < first:
                continue
            seen_in, seen_before = (seen, 0) if begins >= first else (0, seen)
            at_least = sends if begins >= first and ends <= last and sends is not None else seen_in
            at_most = None if sends is None else sends - seen_before
            least += at_least
            most = None if most is None or at_most is None else most + at_most
            if at_least != at_most:
                reasons.append(reason)
        exact = least if least == most else None
        found.append((*key, exact, least, most, max(reasons, key=_REASONS.index, default=None)))
    return frame(
        found,
        product_coupon_id="text",
        stock_id="text",
        sends="count",
        sends_at_least="count",
        sends_at_most="count",
        why_not_exact="text",
    )


_REASONS: Final = ("first_read", "gap_at_edge", "not_read_after", "counter_backwards")


def _intervals(rows: Sequence[tuple[Any, ...]]) -> list[tuple[date, date, int | None, int, str]]:
    """Give a stock's rows a first and a last day, their sends where known, and why a part of them would not be exact."""
    (_, _, before, _, _, anomaly), *later = rows
    found = [(date.min, later[0][0] - _DAY, before, 0, "counter_backwards" if anomaly else "first_read")]
    for day, days, sends, seen, complete, anomaly in later:
        if complete:
            found.append(
                (day, day + days * _DAY - _DAY, sends, seen, "counter_backwards" if anomaly else "gap_at_edge")
            )
        else:
            found.append((day, date.max, None, seen, "not_read_after"))
    return found


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
